"""Runs an on-device bundle: `python -m serving.ondevice recommend`.

A bundle is a folder with `model.tflite`, `vocabulary.json`, `config.json` and
`golden.json`. `config.json` holds the digests of the others, so that files of
two bundles are told apart before anything is answered.
"""

import argparse
import hashlib
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from serving import ids
from serving.errors import InvalidRequest, ModelNotFound, ServingError
from serving.releases import history as release_history

MODEL, VOCABULARY = "model.tflite", "vocabulary.json"
CONFIG, GOLDEN = "config.json", "golden.json"
# Of a description: ids that are answered no more.
GONE = "gone_items"
_DESCRIBED = ("bundle_id", "files", "history_length", "num_items")
Json: TypeAlias = dict[str, Any]
_AGAIN = "Copy the whole bundle again."


class OnDevice:
    """A loaded bundle; several threads may ask it, one after the other.

    Args:
        directory: The bundle's folder.
        threads: Of the interpreter.

    Attributes:
        config: The bundle's description.
        repeats: Whether items of the history may be answered.

    Raises:
        ServingError: If a file is missing, damaged, or of another bundle.
    """

    def __init__(self, directory: Path, threads: int = 1) -> None:
        self.config = _config(directory)
        for name, digest in self.config["files"].items():
            found = hashlib.sha256(_read(directory / name)).hexdigest()
            if found != digest:
                raise _damaged(
                    f"`{name}` must be of bundle {self.config['bundle_id']}: "
                    f"its digest starts with {digest[:12]}",
                    found[:12],
                    directory,
                    "The file is damaged or of another version; copy the "
                    "whole bundle again.",
                )
        self._directory = directory
        # Bundles older than the choice never answer with the history.
        self.repeats: bool = self.config.get("repeat_consumption", False)
        self._gone = frozenset(self.config.get(GONE, ()))
        vocabulary = _json(directory, VOCABULARY)
        self._ids: list[str] = vocabulary["ids"]
        rows = self.config["num_items"] + 2
        if not len(self._ids) == len(vocabulary["titles"]) == rows:
            raise _damaged(
                f"`{VOCABULARY}` must have {rows} rows",
                f"{len(self._ids)} ids and {len(vocabulary['titles'])} titles",
                directory,
            )
        self._titles = dict(zip(self._ids, vocabulary["titles"], strict=True))
        self._indices = {
            item: row for row, item in enumerate(self._ids) if row > 1
        }
        from ai_edge_litert.interpreter import Interpreter

        try:
            self._interpreter = Interpreter(
                str(directory / MODEL), num_threads=threads
            )
            self._runner = self._interpreter.get_signature_runner()
            # The interpreter keeps a request's tensors in itself.
            self._lock = threading.Lock()
        except (ValueError, RuntimeError) as error:
            rule = f"`{MODEL}` must be a TFLite model"
            raise _damaged(rule, error, directory) from error
        shapes = {
            name: entry["shape"].tolist()
            for name, entry in self._runner.get_input_details().items()
        }
        if shapes != {"history": [self.config["history_length"]]}:
            raise _damaged(
                f"`{MODEL}` must read `history` of "
                f"{self.config['history_length']} items",
                f"a model of {shapes}",
                directory,
            )

    def run(
        self, history: Sequence[int] | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids int32 [K] and scores float32 [K] for padded indices [L]."""
        indices = np.asarray(history)
        length = self.config["history_length"]
        if indices.shape != (length,) or indices.dtype.kind not in "iu":
            raise InvalidRequest(
                f"`history` must be {length} indices of items, 0 for padding. "
                f"Received: {history!r:.100}. `recommend` takes ids."
            )
        # Beyond the vocabulary is unknown, whatever int32 would make of it.
        indices = np.where(
            (indices < 0) | (indices >= len(self._ids)), 1, indices
        )
        with self._lock:
            answer = self._runner(history=indices.astype(np.int32))
            return answer["ids"].copy(), answer["scores"].copy()

    def knows(self, item: str) -> bool:
        """Whether an item id is in the vocabulary."""
        return item in self._indices

    def title(self, item: str) -> str:
        """The title of an item, "" where it has none."""
        return self._titles.get(item, "")

    def recommend(
        self, history: Sequence[str], excluded: Sequence[str] = ()
    ) -> list[tuple[str, float]]:
        """Items and scores, best first.

        Args:
            history: Item ids, most recent last; "" is padding, as for the
                servers. Unknown ones count as such; of a longer history the
                end is read. Everything in it stays out of the answer, unless
                the bundle repeats. None at all is answered too, with what the
                model holds for everybody.
            excluded: Item ids that stay out of the answer.

        Raises:
            ServingError: If `history` is not a list of ids.
        """
        # What the servers' client takes for a history, without its padding.
        history = [item for item in ids.several(history, "history") if item]
        length = self.config["history_length"]
        encoded = [self._indices.get(item, 1) for item in history][-length:]
        padded = [0] * (length - len(encoded)) + encoded
        hidden = {
            *self._gone,
            *excluded,
            *(() if self.repeats else history),
        }
        return [
            (self._ids[row], float(score))
            for row, score in zip(*self.run(padded), strict=True)
            if row > 1 and self._ids[row] not in hidden
        ]

    def replay(self) -> int:
        """Runs the golden inputs and compares; how many there were."""
        golden = _json(self._directory, GOLDEN)
        # The cases are in rows: another vocabulary would not change them.
        if golden["vocabulary"] != self.config["files"][VOCABULARY]:
            raise _damaged(
                f"`{VOCABULARY}` must be the one that `{GOLDEN}` was made "
                f"with, whose digest starts with {golden['vocabulary'][:12]}",
                self.config["files"][VOCABULARY][:12],
                self._directory,
            )
        cases, tolerance = golden["cases"], golden["tolerance"]
        for number, case in enumerate(cases):
            rows, scores = self.run(case["history"])
            if not _agree(rows.tolist(), scores.tolist(), case, tolerance):
                raise _damaged(
                    f"Golden case {number} must give {case['ids']}",
                    rows.tolist(),
                    self._directory,
                    "The bundle's files do not belong together, or this "
                    "runtime computes otherwise.",
                )
        return len(cases)


def _agree(
    rows: list[int], scores: list[float], case: Json, tolerance: float
) -> bool:
    """Whether an answer is the expected one but for rounding.

    Runtimes add up in different orders: items whose scores differ by less
    than the tolerance may change places, or leave at the end of the list.
    """
    found = dict(zip(rows, scores, strict=True))
    return len(rows) == len(case["ids"]) and all(
        abs(found[item] - score) <= tolerance
        if item in found
        else score - scores[-1] <= tolerance
        for item, score in zip(case["ids"], case["scores"], strict=True)
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that name a bundle, or where the live one lies."""
    add = parser.add_argument
    add("--bundle", type=Path, help="its folder; the live one by default")
    text = "where releases are published"
    add("--serving", type=Path, default=Path("artifacts/serving"), help=text)


def live(serving: Path) -> Path:
    """The published bundle of the live version."""
    releases = release_history.read(serving)
    if releases:
        return serving / "ondevice" / str(releases[0])
    raise ModelNotFound(
        "An on-device bundle must be published or named. Received: no "
        f"release (from {serving / release_history.POINTER}). Run "
        "`make retrain` or pass --bundle."
    )


def _damaged(
    rule: str, received: object, directory: Path, advice: str = _AGAIN
) -> ServingError:
    return ServingError(
        f"{rule}. Received: {received} (from {directory}). {advice}",
        "DATA_LOSS",
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelNotFound(
            f"An on-device bundle must hold `{path.name}`. Received: {error}. "
            f"{_AGAIN}"
        ) from error


def _json(directory: Path, name: str) -> Json:
    try:
        value = json.loads(_read(directory / name))
    except ValueError as error:
        raise _damaged(f"`{name}` must be whole", error, directory) from error
    if not isinstance(value, dict):
        kind = f"a {type(value).__name__}"
        raise _damaged(f"`{name}` must be a JSON object", kind, directory)
    return value


def _config(directory: Path) -> Json:
    """The bundle's description, with all that is needed to check the rest."""
    config = _json(directory, CONFIG)
    files = config.get("files")
    listed = files if isinstance(files, dict) else {}
    missing = [name for name in _DESCRIBED if name not in config] + [
        f"files.{name}"
        for name in (MODEL, VOCABULARY, GOLDEN)
        if name not in listed
    ]
    if missing:
        lacks = f"one without {', '.join(missing)}"
        raise _damaged(f"`{CONFIG}` must describe a bundle", lacks, directory)
    return config
