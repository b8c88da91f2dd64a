"""Weights of another training put into a model, row by row.

Rows of tables follow what they stand for: a row that both vocabularies know
keeps its weights wherever it stands, and one that is new begins as the unknown
one, which is how the other model answers for it; a student, which never answers
with that one, draws it. Weights of normalised numbers
are turned to the new mean and deviation. Whatever has no place is left as it
was made, and named.

Shape letters: N rows now, M rows then, W width, C numeric columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from models.config import FIRST_ITEM, PADDING, UNKNOWN, RetrievalConfig
from models.layers import ids
from pipeline.run import weights
from pipeline.tables.prepared import Prepared
from pipeline.warm import carried
from pipeline.warm.carried import Carried, Model

# Which table the columns of an encoder of features are of.
_ENCODERS = {
    "candidate_tower/encoder": "items",
    "query_tower/users": "users",
    "query_tower/context": "context",
    "items": "items",
    "users": "users",
    "context": "context",
}
_TABLE = "_table"
_BIAS = "candidate_tower/bias"
_STUDENT_IDS = "ids"
# Weights with a row for every item, of retrieval models and of students.
_ROWS = {_BIAS, _STUDENT_IDS}
# Tables of ids, and whose.
_IDS = {
    _STUDENT_IDS: "items",
    "candidate_tower/ids": "items",
    "query_tower/history_ids": "items",
    "query_tower/user_ids": "users",
}


@dataclass(frozen=True)
class Filled:
    """What became of a model's weights.

    Attributes:
        mapped: Items that go on where they were.
        new: Items that begin as the unknown one.
        gone: Items that have no row any more.
        cold: Paths of weights that start anew.
        fits: Whether those are tables alone, beside layers that go on.
    """

    mapped: int = 0
    new: int = 0
    gone: int = 0
    cold: tuple[str, ...] = ()
    fits: bool = True


def fill(
    model: tf.keras.Model, start: Carried, which: Model, prepared: Prepared
) -> Filled:
    """Puts a version's weights into a fresh model.

    Args:
        model: Built, with all its weights.
        start: What the version carries.
        which: Of its models.
        prepared: What the model's rows stand for.
    """
    trained = {id(weight) for weight in model.trainable_weights}
    fresh = {
        path: variable
        for path, variable in weights.paths(model).items()
        if id(variable) in trained
    }
    sizes = {"users": prepared.users.num_known}
    for path in fresh.keys() & _ROWS:
        sizes["items"] = int(fresh[path].shape[0])
    old = _Old(start, which, prepared, sizes)
    values = {path: old.value(path, v.numpy()) for path, v in fresh.items()}
    cold = [
        path
        for path, value in values.items()
        if value is None or value.shape != fresh[path].shape
    ]
    fits = all(path.endswith(_TABLE) for path in cold)
    if which in ("student", "undistilled"):
        fits = fits and old.layers() <= fresh.keys()
    if which not in ("base", "final") and not fits:
        # Their layers read each other: they fit together or not at all.
        return Filled(fits=False)
    for path in values.keys() - cold:
        fresh[path].assign(values[path])
    return Filled(*old.counts(), tuple(cold), fits)


class _Old:
    """The weights of a version as a new run would have them.

    Args:
        sizes: Ids of "items" and "users" with rows now, the first two as well.
    """

    def __init__(
        self,
        start: Carried,
        which: Model,
        prepared: Prepared,
        sizes: Mapping[str, int],
    ) -> None:
        self._weights = start.weights(which)
        self._facts, self._prepared = start.facts, prepared
        self._sizes = sizes
        # What had a row of its own then.
        self._then = {"users": self._facts.vocabularies["users"]}
        if "items" in sizes:
            known = self._weights.keys() & _ROWS
            sizes_then = (len(self._weights[path]) for path in known)
            size = max(sizes_then, default=FIRST_ITEM)
            self._then["items"] = start.items(which)[: size - FIRST_ITEM]
        # Row then of each id now `[N]`, the unknown one for what is new.
        self._ids = {
            name: places(
                then, getattr(prepared, name).ids[FIRST_ITEM : sizes[name]]
            )
            for name, then in self._then.items()
        }

    def value(self, path: str, now: np.ndarray) -> np.ndarray | None:
        """What weights begin with; None where there is nothing for them."""
        if path not in self._weights:
            return None
        if path == _BIAS:
            return self._weights[path][self._ids["items"]]
        if path in _IDS:
            return self._table(path, now)
        if path.endswith(_TABLE) and "/" not in path:
            # A student has its tables of features beside that of ids.
            return self._encoder(path, "items", path)
        for prefix, table in _ENCODERS.items():
            name = path.removeprefix(f"{prefix}/")
            if name != path:
                return self._encoder(path, table, name)
        return self._weights[path]

    def layers(self) -> set[str]:
        """Paths of all but tables of features."""
        return {path for path in self._weights if not path.endswith(_TABLE)}

    def counts(self) -> tuple[int, int, int]:
        """Items mapped, new and gone among rows of their own."""
        if "items" not in self._ids:
            return 0, 0, 0
        rows = self._ids["items"][FIRST_ITEM:]
        mapped = int((rows != UNKNOWN).sum())
        known = sum(map(bool, self._then["items"]))
        return mapped, len(rows) - mapped, known - mapped

    def _table(self, path: str, now: np.ndarray) -> np.ndarray | None:
        """A table of ids, which may share rows of its second half."""
        table, name = self._weights[path], _IDS[path]
        if table.shape[1:] != now.shape[1:]:
            return None
        then = FIRST_ITEM + len(self._then[name])
        count = self._sizes[name]
        # Each id's vector, whatever rows it was made of.
        options = RetrievalConfig(max_id_rows=max(16, len(table)))
        vectors = ids.embed(
            tf.constant(table), tf.range(then), then, options
        ).numpy()
        found = vectors[self._ids[name]]
        if path == _STUDENT_IDS:
            # Its unknown row has only learned that nobody takes it.
            is_new = self._ids[name] == UNKNOWN
            found = np.where(is_new[:, np.newaxis], now, found)
        if len(now) < count:
            # Who shares a row goes by the place of an id, which has changed.
            own = len(now) // 2
            found = np.concatenate([found[:own], now[own:]])
        return found

    def _encoder(self, path: str, table: str, name: str) -> np.ndarray | None:
        """A table of an encoder of features, or what reads its numbers."""
        then = self._weights[path]
        if name.endswith(_TABLE):
            feature = f"{table}.{name.removesuffix(_TABLE)}"
            return then[
                places(
                    self._facts.vocabularies.get(feature, ()),
                    self._prepared.vocabularies.get(feature, ()),
                )
            ]
        if name in ("inner/kernel", "inner/bias"):
            return self._numbers(path.removesuffix(f"/{name}"), table, name)
        return then

    def _numbers(self, prefix: str, table: str, name: str) -> np.ndarray | None:
        """The layer that reads normalised numbers, as they are now.

        With x = (v - m) / s, w x is w (s' / s) x' + w (m' - m) / s.
        """
        kernel = self._weights[f"{prefix}/inner/kernel"]
        bias = self._weights[f"{prefix}/inner/bias"].copy()
        then = self._columns(prefix, table, self._facts.numbers)
        now = self._columns(prefix, table, carried.numbers(self._prepared))
        if len(then) != len(kernel):
            return None
        turned = np.zeros([len(now), kernel.shape[1]], kernel.dtype)
        for row, (column, (mean, std)) in enumerate(now.items()):
            if column in then:
                old_mean, old_std = then[column]
                own = kernel[list(then).index(column)]
                turned[row] = own * (std / old_std)
                bias += own * ((mean - old_mean) / old_std)
        return turned if name == "inner/kernel" else bias

    def _columns(
        self,
        prefix: str,
        table: str,
        numbers: Mapping[str, tuple[float, float]],
    ) -> dict[str, tuple[float, float]]:
        """Numeric columns that an encoder reads, in its order."""
        chosen = self._facts.item_features
        is_chosen = prefix != "candidate_tower/encoder" or "*" in chosen
        return {
            name: (pair[0], pair[1])
            for name, pair in numbers.items()
            if name.startswith(f"{table}.")
            and (is_chosen or name.removeprefix(f"{table}.") in chosen)
        }


def places(then: Sequence[str], now: Sequence[str]) -> np.ndarray:
    """Index then of each index now, int64 `[N]`.

    Args:
        then: Values of the indices from 2.
        now: Likewise.
    """
    index = {value: row for row, value in enumerate(then, FIRST_ITEM)}
    found = (index.get(value, UNKNOWN) for value in now)
    return np.array([PADDING, UNKNOWN, *found])
