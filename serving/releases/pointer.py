"""Follows the published pointer and writes one for each kind of server.

    python -m serving.releases.pointer --source=/repository/models.config \\
        --directory=/pointers --group=stock=ranking,retrieval_exact \\
        --stock=stock --ranking_servers=ranking:8500 \\
        --retrieval_servers=retrieval:8500,ranking:8500

`models.config` names all models of a release, with paths of the machine that
published it. The unmodified TensorFlow Serving image cannot load the ones
with ScaNN's ops, and containers mount the repository elsewhere. Enters:
that one pointer, polled. Leaves: `<directory>/<group>.config`, replaced by
rename, with the group's models below the directory the source lies in.

A release reaches `ranking` first and the others when it answers there, see
`serving.releases.phases`. What was written is what a new process goes on from.
"""

import argparse
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from serving.client import Tls
from serving.errors import ModelNotFound, ServingError
from serving.releases import graph_ops, versions
from serving.releases.phases import Listed, Phases
from serving.releases.replicas import Replicas
from serving.stop_signals import StopSignals

_LOG = logging.getLogger("serving.releases.pointer")


@dataclass
class Follower:
    """Derives the groups' pointers from the source, remembering releases.

    Attributes:
        source: The published models.config.
        directory: Where `<group>.config` files are written.
        groups: Model names by group.
        stock: Groups whose servers have TensorFlow's own ops only.
        held: Why versions are not listed that were released.
    """

    source: Path
    directory: Path
    groups: Mapping[str, tuple[str, ...]]
    phases: Phases
    stock: frozenset[str] = frozenset()
    held: list[str] = field(default_factory=list)
    _is_resumed: bool = False
    _good: dict[str, list[int]] = field(default_factory=dict)
    _foreign: dict[tuple[str, int], str] = field(default_factory=dict)
    _written: dict[str, object] = field(default_factory=dict)
    _logging: dict[str, versions.Logging] = field(default_factory=dict)

    def step(self, now: float | None = None) -> list[str]:
        """Reads the source once and writes the pointers that changed.

        Returns:
            The groups written.

        Raises:
            ServingError: If the source cannot be read, or lacks all models
                of a group. What was written before stays.
        """
        now = time.monotonic() if now is None else now
        # Read once: a release may replace it at any moment.
        text = versions.text_of(self.source)
        found = versions.read_models_config(self.source, text)
        released = {model: numbers for model, (_, numbers) in found.items()}
        labels = versions.read_labels(self.source, text)
        phases = self.phases
        if not self._is_resumed:
            self._resume()
        self.held = []
        allowed = self._allowed(released)
        plan = phases.step(released, allowed, self._older, now)
        if phases.waiting:
            self.held.append(phases.waiting)
        logging_configs = versions.read_logging(self.source, text)
        written = []
        for group, models in self.groups.items():
            # The unmodified server refuses a config with one.
            logged = {} if group in self.stock else logging_configs
            listed = {
                model: (str(self._base(model).resolve()), plan[model])
                for model in models
                if model in plan
            }
            if not listed:
                raise ModelNotFound(
                    f"A group must have a published model. Received: {group!r}"
                    f" with {', '.join(models)}; published are "
                    f"{', '.join(found) or 'none'} (in {self.source}). "
                    + (" ".join(self.held) or "Correct --group or publish.")
                )
            told = {
                model: _loaded(labels.get(model, {}), numbers)
                for model, (_, numbers) in listed.items()
            }
            if (
                self._written.get(group) != (listed, told)
                or self._logging.get(group, logged) != logged
            ):
                versions.write_models_config(
                    self.directory / f"{group}.config",
                    listed,
                    f"From {self.source} by serving.releases.pointer.",
                    told,
                    logged,
                )
                self._written[group] = (listed, told)
                written.append(group)
            self._logging[group] = logged
        return written

    def _resume(self) -> None:
        """Goes on where the process before this one stopped."""
        for group in self.groups:
            path = self.directory / f"{group}.config"
            try:
                listed = versions.read_models_config(path)
            except FileNotFoundError:
                continue
            self._written[group] = (listed, versions.read_labels(path))
            self._logging[group] = versions.read_logging(path)
            for model, (_, numbers) in listed.items():
                self.phases.listed[model] = numbers
        self._is_resumed = True

    def _allowed(self, released: Listed) -> Listed:
        """The released versions, but for those a server could not load."""
        guarded = {
            model for group in self.stock for model in self.groups[group]
        }
        allowed = {}
        for model, numbers in released.items():
            bad = [
                number
                for number in numbers
                if model in guarded and self._obstacle(model, number)
            ]
            if not bad:
                allowed[model] = self._good[model] = numbers
                continue
            self.held.append(self._obstacle(model, bad[0]))
            if model not in self._good:
                self._good[model] = [
                    number
                    for number in self._older(model, bad[0])
                    if not self._obstacle(model, number)
                ][:1]
            if self._good[model]:
                allowed[model] = self._good[model]
        return allowed

    def _obstacle(self, model: str, number: int) -> str:
        """Why the unmodified TensorFlow Serving cannot load a version."""
        known = self._foreign.get((model, number))
        if known is not None:
            return known
        directory = self._base(model) / str(number)
        try:
            foreign = graph_ops.foreign(directory)
        except ServingError as error:
            return str(error)  # It may still come.
        text = ""
        if foreign:
            text = (
                f"{model} version {number} is not listed for servers without "
                f"the ops {', '.join(foreign)} (in {directory})"
            )
        self._foreign[model, number] = text
        return text

    def _older(self, model: str, below: int) -> list[int]:
        found = versions.list_versions(self._base(model))
        return [number for number in reversed(found) if number < below]

    def _base(self, model: str) -> Path:
        return self.source.parent / model

    def follow(self, poll_seconds: float, stop: StopSignals) -> None:
        """Steps until stopped; what goes wrong or waits is logged."""
        told: list[str] = []
        while not stop.is_set():
            try:
                for group in self.step():
                    _LOG.info(
                        "wrote %s: %s",
                        self.directory / f"{group}.config",
                        self._written[group],
                    )
                trouble = self.held
            except (ServingError, OSError) as error:
                trouble = [str(error)]
            # Once a cause, not once a second.
            for line in trouble:
                if line not in told:
                    _LOG.warning("%s", line)
            told = trouble
            stop.wait(poll_seconds)


def _loaded(
    labels: Mapping[str, int], numbers: Sequence[int]
) -> dict[str, int]:
    """Labels of versions that are listed: servers refuse others."""
    return {name: n for name, n in labels.items() if n in numbers}


def _group(text: str) -> tuple[str, tuple[str, ...]]:
    name, _, models = text.partition("=")
    if not name or not models:
        raise argparse.ArgumentTypeError(
            f"a group must be NAME=MODEL,MODEL; received {text!r}"
        )
    return name, tuple(models.split(","))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.releases.pointer")
    add = parser.add_argument
    add("--source", type=Path, required=True, help="models.config to follow")
    text = "where each group's NAME.config is written"
    add("--directory", type=Path, required=True, help=text)
    add(
        "--group",
        type=_group,
        action="append",
        required=True,
        metavar="NAME=MODEL,MODEL",
        help="models that servers of one kind have; repeat",
    )
    parser.add_argument(
        "--stock",
        action="append",
        default=[],
        metavar="GROUP",
        help="a group of unmodified TensorFlow Serving: no other ops",
    )
    for name, text in (
        ("ranking", "servers of ranking, asked before the others follow"),
        ("retrieval", "servers of retrieval, asked before ranking forgets"),
    ):
        parser.add_argument(
            f"--{name}_servers", metavar="HOST:PORT,...", help=text
        )
    parser.add_argument("--ca", default="", help="PEM, if they speak TLS")
    text = "that a replaced version goes on answering"
    add("--overlap_seconds", type=float, default=30.0, help=text)
    add("--poll_seconds", type=float, default=1.0, help="between two looks")
    parser.add_argument("--once", action="store_true", help="do not follow")
    return parser


def _replicas(addresses: str | None, ca: str) -> Replicas | None:
    if not addresses:
        return None
    return Replicas(addresses.split(","), Tls(ca=ca) if ca else None)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = _parser()
    args = parser.parse_args(arguments)
    groups = dict(args.group)
    if unknown := set(args.stock) - set(groups):
        parser.error(f"--stock names no --group: {', '.join(sorted(unknown))}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        phases = Phases(
            args.overlap_seconds,
            _replicas(args.ranking_servers, args.ca),
            _replicas(args.retrieval_servers, args.ca),
        )
        stock = frozenset(args.stock)
        follower = Follower(args.source, args.directory, groups, phases, stock)
        if args.once:
            follower.step()
            for line in follower.held:
                _LOG.warning("%s", line)
            return 0
    except (ServingError, OSError) as error:
        _LOG.error("%s", error)
        return 2
    follower.follow(args.poll_seconds, StopSignals())
    return 0


if __name__ == "__main__":
    sys.exit(main())
