"""Tensors between NumPy and the wire, without TensorFlow.

Works on TensorFlow's own message as on the light one of `serving.wire`, which
has its fields. Strings are object arrays of bytes, never decoded.
Reading follows TensorFlow: `tensor_content` or typed fields; fewer values
than the shape holds repeat the last one, none at all are zeros or b"", more
are ignored. Writing uses typed fields, as TensorFlow Serving answers, or
`tensor_content` where that is asked for.
"""

import itertools
import math
import mmap
from collections.abc import Sequence

import numpy as np

from serving.wire import tensor_pb2
from serving.wire.tensor_pb2 import TensorProto

# Number of a DataType -> NumPy dtype and the typed field of its values.
_NUMBERS: dict[tensor_pb2.DataType, tuple[np.dtype, str]] = {
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


# Memory that tensors may take: 17 bytes can name a shape of gigabytes.
MAX_TENSOR_BYTES = 2**29
# What a value takes on its way from the message into the runtime, measured as
# the peak: a number is there three times, a string as an object of Python, a
# cell and copies of both, and its bytes four times.
_COPIES = 3
_STRING_BYTES = 200
_STRING_COPIES = 4
# Values that are turned into objects of Python at a time.
_PIECE = 2**16


class TooLarge(ValueError):
    """A tensor that would take more memory than is permitted."""


def shape_of(tensor: TensorProto) -> tuple[int, ...]:
    """The shape that a message asks for.

    Raises:
        ValueError: If a dimension is negative or unknown.
    """
    shape = tuple([dim.size for dim in tensor.tensor_shape.dim])
    if tensor.tensor_shape.unknown_rank or (shape and min(shape) < 0):
        raise ValueError(f"shape {shape} is not fully defined")
    return shape


class Budget:
    """The bytes of memory left for the tensors of one request."""

    def __init__(self, limit: int = MAX_TENSOR_BYTES) -> None:
        self._limit = self.left = limit

    def take(self, cost: int, shape: tuple[int, ...]) -> None:
        """Spends bytes on a tensor of that shape, before it is made.

        Raises:
            TooLarge: If there are fewer left.
        """
        if cost > self.left:
            raise TooLarge(
                f"shape {shape} needs {cost} bytes of memory, at most "
                f"{self._limit} are permitted at once"
            )
        self.left -= cost


def cost_of_strings(count: int, length: int) -> int:
    """Bytes that so many strings of so many bytes together take."""
    return _STRING_BYTES * count + _STRING_COPIES * length


def _rows(shape: tuple[int, ...]) -> int:
    # An empty tensor has rows, and a graph makes something of them.
    return math.prod(itertools.takewhile(bool, shape))


def decode(
    tensor: TensorProto,
    budget: Budget | None = None,
    shape: tuple[int, ...] | None = None,
) -> np.ndarray:
    """Reads a tensor message; what it costs is looked at before.

    Args:
        tensor: TensorProto of either kind.
        budget: Pays for it; its own one if left out.
        shape: What `shape_of` told of it; asked for if left out.

    Raises:
        TooLarge: If the budget does not suffice.
        ValueError: If dtype, shape or size of the content cannot be read.
    """
    if shape is None:
        shape = shape_of(tensor)
    if budget is None:
        budget = Budget()
    code = tensor.dtype
    if code == tensor_pb2.DT_STRING:
        return _decode_strings(tensor, budget, shape)
    if code not in _NUMBERS:
        raise ValueError(f"dtype number {code} cannot be read")
    dtype, name = _NUMBERS[code]
    # Shapes are Python integers: this product cannot overflow.
    count = math.prod(shape)
    budget.take(_COPIES * dtype.itemsize * (count or _rows(shape)), shape)
    content = tensor.tensor_content
    if content and count:
        if len(content) != count * dtype.itemsize:
            raise ValueError(
                f"tensor_content has {len(content)} bytes, "
                f"shape {shape} needs {count * dtype.itemsize}"
            )
        return np.frombuffer(content, dtype).reshape(shape)
    return _fill(_read(getattr(tensor, name), dtype), count).reshape(shape)


def _decode_strings(
    tensor: TensorProto, budget: Budget, shape: tuple[int, ...]
) -> np.ndarray:
    count = math.prod(shape)
    paid = count or _rows(shape)
    content = tensor.tensor_content
    field = tensor.string_val
    if content and count:
        budget.take(cost_of_strings(paid, len(content)), shape)
        values = _split(content, count)
    else:
        values = list(field if len(field) <= count else field[:count])
        # Half the time of adding up their lengths.
        total = len(b"".join(values))
        if values:
            # The last value stands for all that are missing.
            total += (count - len(values)) * len(values[-1])
        budget.take(cost_of_strings(paid, total), shape)
    if count == 1 and len(values) == 1:
        found = np.empty(shape, object)
        found[...] = values[0]
        return found
    return _strings(values, count).reshape(shape)


def _read(field: Sequence[float], dtype: np.dtype) -> np.ndarray:
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


def varint(data: bytes | mmap.mmap, place: int) -> tuple[int, int]:
    """A number in base 128, lowest digits first, and where it ends.

    Raises:
        IndexError: If the data end before.
        ValueError: If it has more than 64 bits.
    """
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than 64 bits")


def _split(content: bytes, count: int) -> list[bytes]:
    """Strings in `tensor_content`: all lengths as varints, then all bytes."""
    if count > len(content):
        raise ValueError(f"tensor_content does not hold {count} strings")
    lengths, place = [], 0
    try:
        for _ in range(count):
            length, place = varint(content, place)
            lengths.append(length)
    except (IndexError, ValueError) as error:
        raise ValueError("tensor_content has a broken string length") from error
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
    array: np.ndarray, tensor: TensorProto, as_tensor_content: bool = False
) -> TensorProto:
    """Writes numbers, or objects that are bytes, into an empty tensor message.

    With `as_tensor_content` they are one block instead of the typed fields.

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
    field = getattr(tensor, name)
    # A list of all would take eight times the bytes of the array.
    for start in range(0, len(values), _PIECE):
        field.extend(values[start : start + _PIECE].tolist())
    return tensor
