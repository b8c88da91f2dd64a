"""Values of queries as tensors: one column of a batch at a time.

Shapes: a plain feature is `[num_queries]`, a list-valued one `[num_queries,
longest list]` with missing values behind the shorter ones.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from serving import ids
from serving.errors import InvalidRequest
from serving.wire import tensor_pb2, tensors

Value = TypeVar("Value")

# What stands for a missing value, and how numbers are written.
_KINDS: dict[int, tuple[object, type | None]] = {
    tensor_pb2.DT_STRING: ("", None),
    tensor_pb2.DT_FLOAT: (np.nan, np.float32),
    tensor_pb2.DT_DOUBLE: (np.nan, np.float64),
    tensor_pb2.DT_INT32: (0, np.int32),
    tensor_pb2.DT_INT64: (0, np.int64),
    tensor_pb2.DT_BOOL: (False, np.bool_),
}


@dataclass(frozen=True)
class Input:
    """One input: a DataType's number, and its rank with the batch."""

    dtype: int
    rank: int


def strings(
    target: tensor_pb2.TensorProto, rows: Sequence[Collection[str]]
) -> None:
    """Writes rows of ids as strings `[rows, longest row or 1]`, "" behind."""
    flat, shape = _rectangle([list(row) for row in rows], "")
    _write_strings(target, flat, shape)


def _rectangle(
    rows: list[list[Value]], missing: Value
) -> tuple[list[Value], list[int]]:
    """All values, row after row, padded to the shape that is returned too."""
    width = max(1, *(len(row) for row in rows))
    flat: list[Value] = []
    for row in rows:
        flat += row
        flat += [missing] * (width - len(row))
    return flat, [len(rows), width]


def _write_strings(
    target: tensor_pb2.TensorProto, values: Sequence[str], shape: Sequence[int]
) -> None:
    target.dtype = tensor_pb2.DT_STRING
    for size in shape:
        target.tensor_shape.dim.add(size=size)
    # Ids that were not UTF-8 in an answer find their bytes again.
    target.string_val.extend(
        [value.encode("utf-8", "surrogateescape") for value in values]
    )


def write(
    target: tensor_pb2.TensorProto,
    values: Sequence[object],
    kind: Input,
    name: str,
) -> None:
    """Writes one value, or one list of values, a query; None is missing."""
    missing, dtype = _KINDS.get(kind.dtype, (0, None))
    if kind.rank > 1:
        flat, shape = _rectangle([_row(value) for value in values], missing)
    else:
        flat = [missing if value is None else value for value in values]
        shape = [len(flat)]
    if kind.dtype == tensor_pb2.DT_STRING:
        _write_strings(target, [ids.one(value, name) for value in flat], shape)
        return
    try:
        array = np.array(flat)
        if dtype is None or not np.can_cast(array.dtype, dtype, "same_kind"):
            raise TypeError(f"cannot read it as {np.dtype(dtype).name}")
        with np.errstate(over="ignore"):
            cast: np.ndarray = array.astype(dtype)
        lost = (
            np.isinf(cast) & ~np.isinf(array)
            if cast.dtype.kind == "f"
            else cast != array
        )
        if lost.any():
            raise ValueError(f"{array[lost].flat[0]} does not fit")
        tensors.encode(cast.reshape(shape), target)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(
            f"Feature {name!r} must be "
            f"{tensor_pb2.DataType.Name(kind.dtype)[3:].lower()}. Received: "
            f"{values!r} (from Query.features; {error}). Convert it first."
        ) from error


def _row(value: Any) -> list[object]:
    if value is None:
        return []
    # A set or a generator is no list to NumPy, a string or a mapping to us.
    return list(value) if np.ndim(value) and ids.is_listed(value) else [value]
