"""Which machines and devices train together.

One process with at most one GPU trains plainly; one with several GPUs mirrors
the model on them; several processes, given by flags or by `TF_CONFIG`, train
one model together. The first worker is the chief: it alone validates, keeps
checkpoints and writes the step.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

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

    Args:
        addresses: host:port of every worker, commas between.
        index: Place of this one among them.
        environment: May hold `TF_CONFIG`.

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
        cluster = value.get("cluster", {})
        task = value.get("task", {})
        chiefs = list(cluster.get("chief", []))
        index = int(task.get("index", 0))
        if task.get("type", "worker") == "worker":
            index += len(chiefs)
        return chiefs + list(cluster.get("worker", [])), index
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigError(
            'TF_CONFIG must read {"cluster": {"worker": ["host:port", ...]}, '
            '"task": {"type": "worker", "index": 0}}. Received: '
            f"{text!r} (from the environment)."
        ) from error


class Team:
    """A strategy with what training needs to know of it.

    Made before any other TensorFlow work where there are several workers.

    Args:
        workers: The processes.
    """

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        if workers.count > 1:
            resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
                tf.train.ClusterSpec({"worker": list(workers.addresses)}),
                task_type="worker",
                task_id=workers.index,
                rpc_layer="grpc",
            )
            self.strategy = tf.distribute.MultiWorkerMirroredStrategy(
                cluster_resolver=resolver
            )
        elif len(tf.config.list_physical_devices("GPU")) > 1:
            self.strategy = tf.distribute.MirroredStrategy()
        else:
            self.strategy = tf.distribute.get_strategy()

    @property
    def is_chief(self) -> bool:
        """Whether this process validates and writes."""
        return self.workers.is_chief

    @property
    def share(self) -> tuple[int, int]:
        """Which of how many shares of the data this process reads."""
        return self.workers.index, self.workers.count

    @property
    def num_replicas(self) -> int:
        """Copies of the model, over all processes."""
        return int(self.strategy.num_replicas_in_sync)

    def distribute(self, dataset: tf.data.Dataset) -> Any:
        """This process's endless batches, one a copy in turn."""
        if self.num_replicas == 1:
            return dataset
        # Endless, so no step has to ask whether all workers have a batch.
        endless = tf.data.experimental.assert_cardinality(
            tf.data.INFINITE_CARDINALITY
        )
        return self.strategy.distribute_datasets_from_function(
            lambda _context: dataset.apply(endless)
        )

    def agree(self, value: float) -> float:
        """The chief's value, everywhere; a meeting of all workers."""
        if self.workers.count == 1:
            return value

        def add() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            is_first = context.replica_id_in_sync_group == 0
            mine = tf.where(is_first, tf.constant(value, tf.float64), 0.0)
            return context.all_reduce(tf.distribute.ReduceOp.SUM, mine)

        found = self.strategy.run(tf.function(add))
        return float(self.strategy.experimental_local_results(found)[0])
