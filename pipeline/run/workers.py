"""Which processes train together, from flags or from `TF_CONFIG`.

The first worker is the chief: it alone validates, keeps checkpoints and
writes the step.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from models.config import ConfigError


@dataclass(frozen=True)
class Workers:
    """The processes that train together.

    Attributes:
        addresses: host:port of each, the chief first; none for one process.
        index: Place of this process among them.
    """

    addresses: tuple[str, ...] = ()
    index: int = 0

    @property
    def count(self) -> int:
        """Processes."""
        return max(1, len(self.addresses))

    @property
    def is_chief(self) -> bool:
        """Whether this process validates and writes."""
        return self.index == 0


def find(
    addresses: str = "",
    index: int | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Workers:
    """The workers that flags name, or `TF_CONFIG` where there are none.

    The addresses are host:port with commas between; `index` is the place of
    this process among them.

    Raises:
        ConfigError: If this process is not one of them.
    """
    origin = "--workers and --worker"
    listed = [part.strip() for part in addresses.split(",") if part.strip()]
    if not listed and environment.get("TF_CONFIG"):
        origin = "TF_CONFIG"
        listed, index = _from_environment(environment["TF_CONFIG"])
    if not listed and index is None:
        return Workers()
    if index is None or not 0 <= index < len(listed):
        raise ConfigError(
            "A worker must be one of the workers, counted from 0. Received: "
            f"{'none' if index is None else index} of {len(listed)} (from "
            f"{origin}). Give every process the same list and its own place."
        )
    wrong = [part for part in listed if not part.rpartition(":")[2].isdigit()]
    if wrong:
        raise ConfigError(
            "Workers must be given as host:port. Received: "
            f"{', '.join(wrong)} (from {origin})."
        )
    return Workers(tuple(listed), index) if len(listed) > 1 else Workers()


def _from_environment(text: str) -> tuple[list[str], int | None]:
    """Addresses, and which of them this process is."""
    try:
        value = json.loads(text)
        cluster, task = value.get("cluster", {}), value.get("task", {})
        chiefs = list(cluster.get("chief", []))
        index = int(task.get("index", 0))
        if task.get("type", "worker") == "worker":
            index += len(chiefs)
        listed = chiefs + list(cluster.get("worker", []))
        if not all(isinstance(address, str) for address in listed):
            raise TypeError("addresses are text")
        return listed, index
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigError(
            'TF_CONFIG must read {"cluster": {"worker": ["host:port", ...]}, '
            '"task": {"type": "worker", "index": 0}}. Received: '
            f"{text!r} (from the environment)."
        ) from error
