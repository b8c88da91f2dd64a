"""Whether a staged bundle can be served, tried before anything points at it.

Servers in processes of their own load its stages alone, and all of it beside
the live version, as at a swap, and replay its warm-up requests; the second is
asked the golden requests of the evaluation. What is told apart: that it loads,
that it answers what was evaluated, that the unmodified TensorFlow Serving has
its operations, how much larger it is, and how much memory a swap takes.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.evaluate import golden
from pipeline.evaluate.golden import Case
from pipeline.run.rules import Rule
from serving import embedded, signatures
from serving.errors import ServingError
from serving.releases import graph_ops, history, versions

# What must run on the unmodified image.
STOCK = (signatures.RANKING, signatures.RETRIEVAL_EXACT)
_PATIENCE_SECONDS = 300.0
# Graphs alone take some megabytes: what is smaller is never too large.
_SMALL = 64 * 2**20
# Scores of another process differ by rounding.
_TOLERANCE = 1e-3


def tried(
    exports: Path, serving: Path, evaluated: Path, max_growth: float
) -> list[Rule]:
    """Every rule of serving.

    Args:
        exports: The staged bundle, one model a folder.
        serving: Directory of the pointer.
        evaluated: Directory of the evaluate step, with the golden requests.
        max_growth: Share by which it may be larger than the live version,
            unless it is small.
    """
    cases = golden.read(evaluated)
    if not cases:
        words = "no golden requests were kept; evaluate keeps some."
        return [Rule("servable", words)]
    live = history.read(serving)[:1]
    if live and history.missing(serving, live[0]):
        live = []
    staged = live[0] + 1 if live else 1
    with tempfile.TemporaryDirectory() as folder:
        versions_of = {
            name: _linked(Path(folder) / name, exports / name, staged)
            for name in signatures.BUNDLE
        }
        for name, version in itertools.product(signatures.BUNDLE, live):
            there = (serving / name / str(version)).resolve()
            (versions_of[name] / str(version)).symlink_to(there)
        loads = _loads(Path(folder), versions_of, [*live, staged], cases)
    return [
        *loads,
        *_stock(exports),
        *_size(exports, serving, live, max_growth),
    ]


def _linked(folder: Path, export: Path, staged: int) -> Path:
    folder.mkdir()
    (folder / str(staged)).symlink_to(export.resolve())
    return folder


def _loads(
    folder: Path,
    models: Mapping[str, Path],
    served: Sequence[int],
    cases: Sequence[Case],
) -> list[Rule]:
    """Loads the last of the versions, alone and beside those before it.

    Alone without the fused model, which would stand for the others: elsewhere
    each has a server of its own.
    """
    name = "loads in a fresh server"
    staged = served[-1]
    apart = {
        model: path
        for model, path in models.items()
        if model != signatures.RECOMMENDER
    }
    try:
        with _server(folder, apart, [staged]):
            pass
        with _server(folder, models, served) as (address, process_id):
            said = f"version {staged} loads and replays its warm-up requests."
            return [
                Rule.of(name, True, said),
                _memory(process_id),
                *(_answers(address, staged, case) for case in cases),
            ]
    except (OSError, ValueError, ServingError) as error:
        words = "a fresh server must load the bundle and replay its warm-up "
        words += f"requests. Received: {error}"
        return [Rule.of(name, False, words)]


@contextlib.contextmanager
def _server(
    folder: Path, models: Mapping[str, Path], served: Sequence[int]
) -> Iterator[tuple[str, int]]:
    """The address and process of a server that has the last version.

    Raises:
        ServingError: If it cannot load a model.
    """
    config = folder / history.POINTER
    versions.write_models_config(
        config, {model: (str(path), served) for model, path in models.items()}
    )
    port = embedded.free_port()
    address = f"http://127.0.0.1:{port}/v1/models"
    flags = f"--rest_api_port={port}", "--max_num_load_retries=0"
    with embedded.running(config, *flags, log=folder / "server.log") as server:
        for model in models:
            server.wait(
                functools.partial(
                    _is_loaded, f"{address}/{model}/versions/{served[-1]}"
                ),
                f"version {served[-1]} of {model}",
                _PATIENCE_SECONDS,
            )
        yield address, server.process.pid


def _is_loaded(address: str) -> bool:
    """Whether a version answers.

    Raises:
        ServingError: If it cannot be loaded.
    """
    with contextlib.suppress(urllib.error.URLError, ConnectionError):
        with embedded.ask(address, 10.0) as answer:
            [found] = json.load(answer)["model_version_status"]
        if found["state"] == "END":
            raise ServingError(found["status"]["error_message"])
        return bool(found["state"] == "AVAILABLE")
    return False


def _answers(address: str, staged: int, case: Case) -> Rule:
    """Whether a model answers the golden requests as it was evaluated."""
    model = case.model
    request = urllib.request.Request(
        f"{address}/{model}/versions/{staged}:predict",
        json.dumps({"inputs": case.inputs}).encode(),
    )
    title = f"answers of {model}"
    try:
        with embedded.ask(request) as answer:
            found = json.load(answer)["outputs"]
    except urllib.error.HTTPError as error:
        words = f"{model} must answer the golden requests. Received: "
        words += error.read().decode(errors="replace")[:300]
        return Rule.of(title, False, words)
    worst = 0.0
    for ids, scores, theirs, others in zip(
        case.item_ids,
        case.scores,
        found["candidate_ids"],
        found["scores"],
        strict=True,
    ):
        served = dict(zip(theirs, others, strict=True))
        for item, score in zip(ids, scores, strict=True):
            if item:
                apart = abs(served.get(item, np.inf) - score)
                worst = max(worst, apart / max(1.0, abs(score)))
    holds = worst <= _TOLERANCE
    return Rule.of(
        title,
        holds,
        f"{model} answers {len(case.item_ids)} golden requests "
        f"{'as' if holds else 'otherwise than'} evaluated: scores differ by "
        f"{worst:.2g} at most, {_TOLERANCE:g} is expected.",
        min(float(worst), 1e30),
        _TOLERANCE,
    )


def _memory(process_id: int) -> Rule:
    """What a swap takes: both versions are loaded until the old one goes."""
    name = "memory of a hot swap"
    try:
        status = Path(f"/proc/{process_id}/status").read_text("utf-8")
    except OSError:
        return Rule(name, "this system does not tell what a process takes.")
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    words = "a server that loads it beside the live version takes "
    words += f"{peak / 2**20:,.0f} MiB at most."
    return Rule(name, words, value=float(peak))


def _stock(exports: Path) -> Iterator[Rule]:
    for name in STOCK:
        try:
            foreign = graph_ops.foreign(exports / name)
        except ServingError as error:
            yield Rule.of(f"stock operations of {name}", False, str(error))
            continue
        words = f"{name} needs no operation that the unmodified TensorFlow "
        words += f"Serving lacks{': ' if foreign else '.'}{', '.join(foreign)}"
        yield Rule.of(f"stock operations of {name}", not foreign, words)


def _size(
    exports: Path, serving: Path, live: list[int], max_growth: float
) -> Iterator[Rule]:
    new = sum(
        sum(history.sizes(exports / name).values())
        for name in signatures.BUNDLE
    )
    for version in live:
        old = sum(
            sum(history.sizes(serving / name / str(version)).values())
            for name in signatures.BUNDLE
        )
        most = max(_SMALL, (1 + max_growth) * old)
        yield Rule.of(
            "size",
            new <= most,
            f"the bundle has {new / 2**20:,.1f} MiB, the live version "
            f"{old / 2**20:,.1f}; at most {most / 2**20:,.1f} is expected.",
            new,
            most,
        )
