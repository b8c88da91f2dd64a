"""NumPy arrays in and out of TensorFlow's runtime, through its C API.

Strings are object arrays of bytes. Every tensor made here is a copy: the
runtime may keep one after the run that it was made for. A request waits for
all of this, with the processor's caches full of the model: little code is
worth more here than few copies.
"""

import ctypes
import math

import numpy as np
import tensorflow as tf

from serving.server.runtime import c_api
from serving.wire import tensor_pb2, tensors

_DTYPES = {code: dtype for dtype, code in tensors.NUMBER_CODES.items()}
# `TF_TString` of tsl/platform/ctstring_internal.h: 24 bytes. A short string
# lies inside, behind its length, which leaves two bits for the kind of string.
_CELL_BYTES = 24
_SHORT_BYTES = 22
_KIND = 0b11
_HEADS = [bytes([length << 2]) for length in range(_SHORT_BYTES + 1)]


def make(array: np.ndarray) -> int:
    """Copies an array into a new tensor; the caller deletes it.

    Raises:
        TypeError: If the runtime has no such dtype, or a string is not bytes.
    """
    if array.dtype.kind in "OS":
        values = array.ravel().tolist()
        code: int = tensor_pb2.DT_STRING
        try:
            data = b"".join(
                [
                    _HEADS[len(value)] + value.ljust(23, b"\0")
                    for value in values
                ]
            )
        except IndexError:
            # There is no such head: one of them is long.
            return _make_long(array)
    else:
        code = tensors.NUMBER_CODES.get(array.dtype, 0)
        if not code:
            code = tf.as_dtype(array.dtype).as_datatype_enum
        data = array.tobytes()
    tensor = _allocate(code, array.shape, len(data))
    if data:
        place = c_api.locked.TF_TensorData(tensor)
        if not place:
            c_api.locked.TF_DeleteTensor(tensor)
            raise MemoryError(f"no room for {len(data)} bytes")
        ctypes.memmove(place, data, len(data))
    return tensor


def _allocate(code: int, shape: tuple[int, ...], size: int) -> int:
    dims = (ctypes.c_int64 * len(shape))(*shape)
    return c_api.locked.TF_AllocateTensor(code, dims, len(shape), size)


def _make_long(array: np.ndarray) -> int:
    # Only the runtime itself makes strings that free what they point to.
    message = tensors.encode(array, tensor_pb2.TensorProto())
    data = c_api.buffer_of(message.SerializeToString())
    tensor = _allocate(tensor_pb2.DT_FLOAT, (0,), 0)
    try:
        c_api.checked(c_api.unlocked.TF_TensorFromProto, data, tensor)
    except BaseException:
        c_api.locked.TF_DeleteTensor(tensor)
        raise
    finally:
        c_api.locked.TF_DeleteBuffer(data)
    return tensor


def read(tensor: int) -> np.ndarray:
    """Copies a tensor into a new array; one of numbers is read-only.

    Raises:
        TypeError: If NumPy has no such dtype: resources and variants.
    """
    rank = c_api.locked.TF_NumDims(tensor)
    shape = tuple([c_api.locked.TF_Dim(tensor, axis) for axis in range(rank)])
    count = math.prod(shape)
    code = c_api.locked.TF_TensorType(tensor)
    data = c_api.locked.TF_TensorData(tensor)
    if code == tensor_pb2.DT_STRING:
        array = np.empty(count, object)
        array[:] = _strings(data, count)
        return array.reshape(shape)
    dtype = _DTYPES.get(code)
    if dtype is None:
        dtype = np.dtype(tf.as_dtype(code).as_numpy_dtype)
        if dtype.hasobject:
            raise TypeError(f"{tf.as_dtype(code).name} cannot be sent")
    raw = ctypes.string_at(data, count * dtype.itemsize) if count else b""
    return np.frombuffer(raw, dtype).reshape(shape)


def _strings(data: int, count: int) -> list[bytes]:
    if not count:
        return []
    raw = ctypes.string_at(data, count * _CELL_BYTES)
    places = range(0, len(raw), _CELL_BYTES)
    return [
        _long_string(data + place)
        if head & _KIND
        else raw[place + 1 : place + 1 + (head >> 2)]
        for place, head in zip(places, raw[::_CELL_BYTES], strict=True)
    ]


def _long_string(address: int) -> bytes:
    size = c_api.locked.TF_StringGetSize(address)
    return ctypes.string_at(c_api.locked.TF_StringGetDataPointer(address), size)
