"""Prometheus textfiles: how the last run ended, and what is released.

Enters: how a command ended, and what the steps, the gate and the releases left
on disk. Leaves: `<artifacts>/metrics/<run>.prom` and `<run>.releases.prom`,
each whole or as it was, for the textfile collector of node_exporter. What is
not known is left out. A file that cannot be written changes no exit status.
"""

import contextlib
import json
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from pipeline import exits, needs
from pipeline.evaluate import evaluation
from pipeline.evaluate.evaluation import Evaluation
from pipeline.release import decision
from pipeline.run import manifest
from pipeline.run.config import Config
from serving.errors import ServingError
from serving.releases import history, ledger
from serving.releases.locks import Held

_LOG = logging.getLogger(__name__)
DIRECTORY = "metrics"
# Beside the steps of a run, as `prepare.checks` writes it.
_DATA_CHECKS = "data_checks.json"
_RUNS = ("publish", "retrain", "demo")
# `index` changes the items of what is live where it is asked to.
_RELEASES = (*_RUNS, "index", "canary", "promote", "rollback", "prune")
# Labels besides the run's name, and a value.
_Rows = dict[tuple[tuple[str, str], ...], float]
# Name, what it is, rows.
_Gauge: TypeAlias = tuple[str, str, _Rows]


@contextlib.contextmanager
def written(config: Config, command: str) -> Iterator[None]:
    """Writes what a command changes when it ends, however it does.

    A command that another one kept out did nothing, and is not told of.
    """
    began = time.time()
    status = 0
    try:
        yield
    except Held:
        command = ""
        raise
    except BaseException as error:
        status = exits.of(error).status
        raise
    finally:
        if command in _RUNS:
            _write(_run(config, began, status), config, "")
        if command in _RELEASES:
            _write(_releases(config), config, ".releases")


def _write(gauges: Iterable[_Gauge], config: Config, suffix: str) -> None:
    path = Path(config.artifacts) / DIRECTORY / f"{config.name}{suffix}.prom"
    registry = CollectorRegistry()
    try:
        for name, words, rows in gauges:
            _add(registry, name, words, rows, config.name)
    except (ServingError, OSError, ValueError, KeyError, TypeError) as error:
        # Another hand damaged what is read here; how it ended is told first.
        _LOG.warning("%s lacks what cannot be read: %s", path, error)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_to_textfile(str(path), registry)
    except OSError as error:
        _LOG.warning("%s was not written: %s", path, error)


def _add(
    registry: CollectorRegistry, name: str, words: str, rows: _Rows, run: str
) -> None:
    if not rows:
        return
    labels = ["run", *(label for label, _ in next(iter(rows)))]
    gauge = Gauge(f"recommender_{name}", words, labels, registry=registry)
    for key, value in rows.items():
        gauge.labels(run, *(text for _, text in key)).set(value)


def _run(config: Config, began: float, status: int) -> Iterator[_Gauge]:
    """What the last run did."""
    now = time.time()
    yield "last_run_timestamp_seconds", "When it ended.", {(): now}
    yield "last_run_seconds", "How long it took.", {(): now - began}
    words = "0 released or nothing changed, 1 error, 3 rejected, 4 refused."
    yield "last_run_exit_status", words, {(): status}
    made, seconds, peak = _Rows(), _Rows(), _Rows()
    for name in needs.AFTER:
        if record := manifest.Record.read(config.run_directory / name):
            step = (("step", name),)
            made[step] = record.made_at / 1e9
            seconds[step] = record.seconds
            peak[step] = record.peak_bytes
    words = "When the step was made; it is skipped while nothing changes."
    yield "step_made_timestamp_seconds", words, made
    yield "step_seconds", "How long the step took when it was made.", seconds
    words = "Most memory in use while the step was made."
    yield "step_peak_bytes", words, peak
    yield "rules", "Rules when they were last judged.", _judged(config)
    yield "evaluation", "What the gate compares.", _figures(config)


def _judged(config: Config) -> _Rows:
    checks = config.run_directory / _DATA_CHECKS
    decided = decision.read(config.run_directory)
    found = {half: decided.get(half, []) for half in ("quality", "servable")}
    if checks.exists():
        found["data"] = json.loads(checks.read_text("utf-8"))["rules"]
    rows: _Rows = {}
    for check, rules in found.items():
        counts = Counter(rule["outcome"] for rule in rules)
        for outcome in ("holds", "broken", "not judged") if rules else ():
            key = (("check", check), ("outcome", outcome))
            rows[key] = counts[outcome]
    return rows


def _figures(config: Config) -> _Rows:
    path = config.run_directory / evaluation.FILE
    if not path.exists():
        return {}
    models = Evaluation.read(path).models
    metric = config.publish.metric
    return {
        (("model", name), ("metric", metric)): models[name].figures[metric]
        for name in ("two_stage", "live")
        if name in models
    }


def _releases(config: Config) -> Iterator[_Gauge]:
    """What is released, and since when."""
    serving = config.serving_directory
    state = history.state(serving)
    entries, _problems = ledger.read(serving)
    first: dict[int | None, float] = {}
    last: dict[int | None, float] = {}
    for entry in entries:
        moment = ledger.seconds(entry.at)
        last[entry.version] = moment
        if entry.event == ledger.LIVE:
            first.setdefault(entry.version, moment)
    words = "When a version became live that never was; no rollback counts."
    rows: _Rows = {(): max(first.values())} if first else {}
    yield "last_release_timestamp_seconds", words, rows
    roles: _Rows = {
        (("role", state.role(version)), ("version", str(version))): last.get(
            version, 0.0
        )
        for version in (state.live, state.canary, state.previous, state.staged)
        if version is not None
    }
    words = "When the ledger last told of a version that has a role."
    yield "version_since_timestamp_seconds", words, roles
    words = "Users who ask the canary."
    yield "canary_percent_of_users", words, {(): state.share}
