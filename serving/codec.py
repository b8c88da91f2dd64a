"""Tensors between NumPy and the wire, without TensorFlow.

Works on any message with TensorProto's fields: TensorFlow's own and the light
one of `serving.wire`. Strings are object arrays of bytes, never decoded.
Reading follows TensorFlow: `tensor_content` or typed fields; fewer values
than the shape holds repeat the last one, none at all are zeros or b"", more
are ignored. Writing uses typed fields, as TensorFlow Serving answers, or
`tensor_content` where that is asked for.
"""

import math
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
_OBJECT = np.dtype(object)
_CODES = {dtype: (code, name) for code, (dtype, name) in _NUMBERS.items()}
# NumPy dtype -> number of a DataType.
NUMBER_CODES = {dtype: code for code, (dtype, _) in _NUMBERS.items()}


# Bytes (a string counts 8) that a message may ask for beyond what it carries:
# a shape of a few bytes could otherwise demand terabytes.
MAX_TENSOR_BYTES = 2**28


def decode(tensor: Any, max_bytes: int = MAX_TENSOR_BYTES) -> np.ndarray:
    """Reads a tensor message.

    Args:
        tensor: TensorProto of either kind.
        max_bytes: Largest tensor to make of a message that carries less.

    Raises:
        ValueError: If the dtype is unset or not one of ours, a dimension is
            negative or unknown, `tensor_content` has another size, or the
            shape asks for more than `max_bytes`.
    """
    shape = tuple([dim.size for dim in tensor.tensor_shape.dim])
    if tensor.tensor_shape.unknown_rank or (shape and min(shape) < 0):
        raise ValueError(f"shape {shape} is not fully defined")
    code = tensor.dtype
    if code != tensor_pb2.DT_STRING and code not in _NUMBERS:
        raise ValueError(f"dtype number {code} cannot be read")
    dtype, name = _NUMBERS.get(code, (_OBJECT, "string_val"))
    # Shapes are Python integers: this product cannot overflow.
    count = math.prod(shape)
    content = tensor.tensor_content
    if content and count and dtype is not _OBJECT:
        if len(content) != count * dtype.itemsize:
            raise ValueError(
                f"tensor_content has {len(content)} bytes, "
                f"shape {shape} needs {count * dtype.itemsize}"
            )
        return np.frombuffer(content, dtype).reshape(shape)
    field = getattr(tensor, name)
    if len(field) < count:
        # The last value stands for all that are missing.
        is_long = dtype is _OBJECT and len(field)
        each = dtype.itemsize + (len(field[-1]) if is_long else 0)
        if count * each > max_bytes:
            raise ValueError(
                f"shape {shape} needs {count * each} bytes, "
                f"at most {max_bytes} are permitted"
            )
    if dtype is not _OBJECT:
        return _fill(_read(field, dtype), count).reshape(shape)
    values = _split(content, count) if content and count else list(field)
    if count == 1 and len(values) == 1:
        found = np.empty(shape, object)
        found[...] = values[0]
        return found
    return _strings(values, count).reshape(shape)


def _read(field: Any, dtype: np.dtype) -> np.ndarray:
    if dtype == np.float16:
        return np.array(field, np.int32).astype(np.uint16).view(np.float16)
    if dtype.kind == "c":
        part = np.float32 if dtype == np.complex64 else np.float64
        pairs = np.array(field, part)
        return pairs[: len(pairs) // 2 * 2].view(dtype)
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


def _strings(values: list[bytes], count: int) -> np.ndarray:
    found = np.empty(count, object)
    found[: len(values)] = values[:count]
    if len(values) < count:
        found[len(values) :] = values[-1] if values else b""
    return found


def _split(content: bytes, count: int) -> list[bytes]:
    """Strings in `tensor_content`: all lengths as varints, then all bytes."""
    if count > len(content):
        raise ValueError(f"tensor_content does not hold {count} strings")
    lengths, place = [], 0
    for _ in range(count):
        length = shift = 0
        while True:
            if place >= len(content) or shift > 63:
                raise ValueError("tensor_content has a broken string length")
            byte = content[place]
            place += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    if place + sum(lengths) != len(content):
        raise ValueError("tensor_content has strings of another size")
    values = []
    for length in lengths:
        values.append(content[place : place + length])
        place += length
    return values


def _join(values: list[bytes]) -> bytes:
    """Inverse of `_split`."""
    head = bytearray()
    for value in values:
        length = len(value)
        while length >= 0x80:
            head.append(length & 0x7F | 0x80)
            length >>= 7
        head.append(length)
    return bytes(head) + b"".join(values)


def encode(
    array: np.ndarray, tensor: Any, as_tensor_content: bool = False
) -> Any:
    """Writes an array into an empty tensor message.

    Args:
        array: Numbers, or objects that are bytes.
        tensor: TensorProto of either kind.
        as_tensor_content: Whether to write one block of bytes instead of the
            typed fields.

    Returns:
        `tensor`.

    Raises:
        ValueError: If the dtype has no number on the wire.
    """
    dims = tensor.tensor_shape.dim
    for size in array.shape:
        dims.add(size=size)
    # An empty shape too is a shape: its presence shows on the wire.
    if not array.shape:
        tensor.tensor_shape.SetInParent()
    dtype = array.dtype
    if dtype.kind in "OS":
        tensor.dtype = tensor_pb2.DT_STRING
        if as_tensor_content:
            tensor.tensor_content = _join(array.ravel().tolist())
        else:
            tensor.string_val.extend(array.ravel().tolist())
        return tensor
    if dtype not in _CODES:
        raise ValueError(f"dtype {dtype} cannot be written")
    tensor.dtype, name = _CODES[dtype]
    if as_tensor_content:
        tensor.tensor_content = array.tobytes()
        return tensor
    values = np.ascontiguousarray(array).ravel()
    if dtype == np.float16:
        values = values.view(np.uint16)
    elif dtype.kind == "c":
        values = values.view(
            np.float32 if dtype == np.complex64 else np.float64
        )
    getattr(tensor, name).extend(values.tolist())
    return tensor
