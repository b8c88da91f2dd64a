"""Tensors between NumPy and the wire, without TensorFlow.

Works on any message with TensorProto's fields: TensorFlow's own and the light
one of `serving.wire`. Strings are object arrays of bytes, never decoded.
Reading follows TensorFlow: `tensor_content` or typed fields; fewer values
than the shape holds repeat the last one, none at all are zeros or b"", more
are ignored. Writing uses typed fields, as TensorFlow Serving answers.
"""

from typing import Any

import numpy as np

from serving.wire import tensor_pb2

# Number of a DataType -> NumPy dtype and the typed field of its values.
_NUMBERS: dict[int, tuple[np.dtype, str]] = {
    tensor_pb2.DT_FLOAT: (np.dtype(np.float32), "float_val"),
    tensor_pb2.DT_DOUBLE: (np.dtype(np.float64), "double_val"),
    tensor_pb2.DT_INT32: (np.dtype(np.int32), "int_val"),
    tensor_pb2.DT_UINT8: (np.dtype(np.uint8), "int_val"),
    tensor_pb2.DT_INT16: (np.dtype(np.int16), "int_val"),
    tensor_pb2.DT_INT8: (np.dtype(np.int8), "int_val"),
    tensor_pb2.DT_INT64: (np.dtype(np.int64), "int64_val"),
    tensor_pb2.DT_BOOL: (np.dtype(np.bool_), "bool_val"),
    tensor_pb2.DT_UINT16: (np.dtype(np.uint16), "int_val"),
    tensor_pb2.DT_UINT32: (np.dtype(np.uint32), "uint32_val"),
    tensor_pb2.DT_UINT64: (np.dtype(np.uint64), "uint64_val"),
    tensor_pb2.DT_HALF: (np.dtype(np.float16), "half_val"),
    tensor_pb2.DT_COMPLEX64: (np.dtype(np.complex64), "scomplex_val"),
    tensor_pb2.DT_COMPLEX128: (np.dtype(np.complex128), "dcomplex_val"),
}
_CODES = {dtype: (code, name) for code, (dtype, name) in _NUMBERS.items()}


def decode(tensor: Any) -> np.ndarray:
    """Reads a tensor message.

    Args:
        tensor: TensorProto of either kind.

    Raises:
        ValueError: If the dtype is unset or not one of ours, a dimension is
            negative or unknown, or `tensor_content` has another size.
    """
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise ValueError(f"shape {shape} is not fully defined")
    count = 1
    for size in shape:
        count *= size
    if tensor.dtype == tensor_pb2.DT_STRING:
        return _strings(tensor, count).reshape(shape)
    if tensor.dtype not in _NUMBERS:
        raise ValueError(f"dtype number {tensor.dtype} cannot be read")
    dtype, name = _NUMBERS[tensor.dtype]
    if tensor.tensor_content:
        if len(tensor.tensor_content) != count * dtype.itemsize:
            raise ValueError(
                f"tensor_content has {len(tensor.tensor_content)} bytes, "
                f"shape {shape} needs {count * dtype.itemsize}"
            )
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    return _fill(_read(getattr(tensor, name), dtype), count).reshape(shape)


def _read(field: Any, dtype: np.dtype) -> np.ndarray:
    if dtype == np.float16:
        return np.array(field, np.uint16).view(np.float16)
    if dtype.kind == "c":
        part = np.float32 if dtype == np.complex64 else np.float64
        return np.array(field, part).view(dtype)
    if dtype.kind in "iu" and dtype.itemsize < 4:
        # int_val is wider than the values it carries, which wrap.
        return np.array(field, np.int32).astype(dtype)
    return np.array(field, dtype)


def _fill(values: np.ndarray, count: int) -> np.ndarray:
    if len(values) >= count:
        return values[:count]
    last = values[-1] if len(values) else values.dtype.type(0)
    return np.concatenate(
        [values, np.full(count - len(values), last, values.dtype)]
    )


def _strings(tensor: Any, count: int) -> np.ndarray:
    values = list(tensor.string_val)[:count]
    found = np.empty(count, object)
    found[: len(values)] = values
    if len(values) < count:
        found[len(values) :] = values[-1] if values else b""
    return found


def encode(array: np.ndarray, tensor: Any) -> Any:
    """Writes an array into an empty tensor message, in typed fields.

    Args:
        array: Numbers, or objects that are bytes.
        tensor: TensorProto of either kind.

    Returns:
        `tensor`.

    Raises:
        ValueError: If the dtype has no number on the wire.
    """
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if array.dtype == object or array.dtype.kind == "S":
        tensor.dtype = tensor_pb2.DT_STRING
        tensor.string_val.extend(array.ravel().tolist())
        return tensor
    if array.dtype not in _CODES:
        raise ValueError(f"dtype {array.dtype} cannot be written")
    tensor.dtype, name = _CODES[array.dtype]
    values = np.ascontiguousarray(array).ravel()
    if array.dtype == np.float16:
        values = values.view(np.uint16)
    elif array.dtype.kind == "c":
        values = values.view(
            np.float32 if array.dtype == np.complex64 else np.float64
        )
    getattr(tensor, name).extend(values.tolist())
    return tensor
