"""Values of queries as tensors: one column of a batch at a time.

Shapes: a plain feature is `[num_queries]`, a list-valued one `[num_queries,
longest list]` with missing values behind the shorter ones.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving import ids
from serving.errors import ServingError
from serving.wire import tensor_pb2, tensors

_MISSING: dict[int, Any] = {
    tensor_pb2.DT_STRING: "",
    tensor_pb2.DT_FLOAT: np.nan,
    tensor_pb2.DT_DOUBLE: np.nan,
    tensor_pb2.DT_INT32: 0,
    tensor_pb2.DT_INT64: 0,
    tensor_pb2.DT_BOOL: False,
}
_DTYPES: dict[int, Any] = {
    tensor_pb2.DT_FLOAT: np.float32,
    tensor_pb2.DT_DOUBLE: np.float64,
    tensor_pb2.DT_INT32: np.int32,
    tensor_pb2.DT_INT64: np.int64,
    tensor_pb2.DT_BOOL: np.bool_,
}


@dataclass(frozen=True)
class Input:
    """One input of a signature.

    Attributes:
        dtype: Number of a DataType.
        rank: Dimensions, the batch included.
    """

    dtype: int
    rank: int


def strings(target: Any, rows: Sequence[Collection[str]]) -> None:
    """Writes rows of ids as a string tensor `[rows, longest row or 1]`.

    Args:
        target: TensorProto to fill.
        rows: Shorter ones are padded with "" at the end.
    """
    width = max(1, *(len(row) for row in rows))
    target.dtype = tensor_pb2.DT_STRING
    target.tensor_shape.dim.add(size=len(rows))
    target.tensor_shape.dim.add(size=width)
    values: list[bytes] = []
    for row in rows:
        values.extend(_bytes(value) for value in row)
        values.extend([b""] * (width - len(row)))
    target.string_val.extend(values)


def _bytes(value: str) -> bytes:
    # Ids that were not UTF-8 in an answer find their bytes again.
    return value.encode("utf-8", "surrogateescape")


def write(target: Any, values: list[Any], kind: Input, name: str) -> None:
    """Writes one value, or one list of values, a query; None is missing.

    Args:
        target: TensorProto to fill.
        values: One a query.
        kind: What the signature takes.
        name: For messages.

    Raises:
        ServingError: If a value has the wrong type.
    """
    missing = _MISSING.get(kind.dtype, 0)
    if kind.rank > 1:
        rows = [_row(value) for value in values]
        width = max(1, *(len(row) for row in rows))
        flat = [
            value
            for row in rows
            for value in row + [missing] * (width - len(row))
        ]
        shape = [len(rows), width]
    else:
        flat = [missing if value is None else value for value in values]
        shape = [len(flat)]
    if kind.dtype == tensor_pb2.DT_STRING:
        target.dtype = kind.dtype
        for size in shape:
            target.tensor_shape.dim.add(size=size)
        target.string_val.extend(
            [_bytes(ids.one(value, name)) for value in flat]
        )
        return
    dtype = _DTYPES.get(kind.dtype)
    try:
        array = np.array(flat)
        if dtype is None or not np.can_cast(array.dtype, dtype, "same_kind"):
            raise TypeError(f"cannot read it as {np.dtype(dtype).name}")
        with np.errstate(over="ignore"):
            cast = array.astype(dtype)
        lost = (
            np.isinf(cast) & ~np.isinf(array)
            if cast.dtype.kind == "f"
            else cast != array
        )
        if lost.any():
            raise ValueError(f"{array[lost].flat[0]} does not fit")
        tensors.encode(cast.reshape(shape), target)
    except (TypeError, ValueError) as error:
        raise ServingError(
            f"Feature {name!r} must be "
            f"{tensor_pb2.DataType.Name(kind.dtype)[3:].lower()}. Received: "
            f"{values!r} (from Query.features; {error}). Convert it first.",
            "INVALID_ARGUMENT",
        ) from error


def _row(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, str | bytes | Mapping) or np.ndim(value) == 0:
        return [value]
    return list(value)
