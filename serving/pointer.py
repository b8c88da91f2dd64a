"""Follows the published pointer and writes one for each kind of server.

    python -m serving.pointer --source=/repository/models.config \\
        --directory=/pointers --group=stock=ranking,retrieval_exact

`models.config` names all models of a release, with paths of the machine that
published it. The unmodified TensorFlow Serving image cannot load the ones
with ScaNN's ops, and containers mount the repository elsewhere. Enters:
that one pointer, polled. Leaves: `<directory>/<group>.config`, replaced by
rename, with the group's models below the directory the source lies in.

A version that a newer one replaces stays listed for `--overlap_seconds`:
servers do not swap in the same instant, and the client pins ranking to the
version that retrieval answered with. A rollback is followed at once.
"""

import argparse
import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serving import versions
from serving.errors import ServingError
from serving.stop_signals import StopSignals

_LOG = logging.getLogger("serving.pointer")


@dataclass
class Follower:
    """Derives the groups' pointers from the source, remembering swaps.

    Attributes:
        source: The published models.config.
        directory: Where `<group>.config` files are written.
        groups: Model names by group.
        overlap_seconds: How long a replaced version stays listed.
    """

    source: Path
    directory: Path
    groups: Mapping[str, tuple[str, ...]]
    overlap_seconds: float = 30.0
    _live: dict[str, list[int]] = field(default_factory=dict)
    _old: dict[str, tuple[float, list[int]]] = field(default_factory=dict)
    _written: dict[str, object] = field(default_factory=dict)

    def step(self, now: float | None = None) -> list[str]:
        """Reads the source once and writes the pointers that changed.

        Args:
            now: Seconds of a monotonic clock; None reads one.

        Returns:
            The groups written.

        Raises:
            ServingError: If the source cannot be read, or lacks all models
                of a group. What was written before stays.
        """
        now = time.monotonic() if now is None else now
        found = versions.read_models_config(self.source)
        for model, (_, numbers) in found.items():
            self._remember(model, numbers, now)
        written = []
        for group, models in self.groups.items():
            listed = {
                model: (
                    str(self.source.parent.resolve() / model),
                    self._kept(model, now) + self._live[model],
                )
                for model in models
                if model in found
            }
            if not listed:
                raise ServingError(
                    f"A group must have a published model. Received: {group!r}"
                    f" with {', '.join(models)}; published are "
                    f"{', '.join(found) or 'none'} (in {self.source}). "
                    "Correct --group or publish them.",
                    "NOT_FOUND",
                )
            if self._written.get(group) != listed:
                versions.write_models_config(
                    self.directory / f"{group}.config",
                    listed,
                    comment=f"From {self.source} by serving.pointer.",
                )
                self._written[group] = listed
                written.append(group)
        return written

    def _remember(self, model: str, numbers: list[int], now: float) -> None:
        before = self._live.get(model, [])
        if before and before != numbers:
            # Only what is older: after a rollback the newer version would
            # otherwise go on answering as the latest.
            older = [
                number for number in before if numbers and number < min(numbers)
            ]
            self._old[model] = (now + self.overlap_seconds, older)
        self._live[model] = numbers

    def _kept(self, model: str, now: float) -> list[int]:
        until, numbers = self._old.get(model, (now, []))
        return numbers if now < until else []

    def follow(self, poll_seconds: float, stop: StopSignals) -> None:
        """Steps until stopped; a source that cannot be read is logged."""
        trouble = ""
        while not stop.is_set():
            try:
                for group in self.step():
                    _LOG.info(
                        "wrote %s: %s",
                        self.directory / f"{group}.config",
                        {m: self._live.get(m) for m in self.groups[group]},
                    )
                trouble = ""
            except (ServingError, OSError) as error:
                # Once a cause, not once a second.
                if str(error) != trouble:
                    trouble = str(error)
                    _LOG.warning("%s", trouble)
            stop.wait(poll_seconds)


def _group(text: str) -> tuple[str, tuple[str, ...]]:
    name, _, models = text.partition("=")
    if not name or not models:
        raise argparse.ArgumentTypeError(
            f"a group must be NAME=MODEL,MODEL; received {text!r}"
        )
    return name, tuple(models.split(","))


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m serving.pointer")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--group", type=_group, action="append", required=True)
    parser.add_argument("--overlap_seconds", type=float, default=30.0)
    parser.add_argument("--poll_seconds", type=float, default=1.0)
    parser.add_argument("--once", action="store_true", help="do not follow")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    follower = Follower(
        args.source, args.directory, dict(args.group), args.overlap_seconds
    )
    if args.once:
        try:
            follower.step()
        except (ServingError, OSError) as error:
            _LOG.error("%s", error)
            return 2
        return 0
    follower.follow(args.poll_seconds, StopSignals())
    return 0


if __name__ == "__main__":
    sys.exit(main())
