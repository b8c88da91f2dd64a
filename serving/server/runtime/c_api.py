"""TensorFlow's C API: the part of it that loads and runs SavedModels.

The C API is TensorFlow's stable interface for other languages. Python's own
loader builds an object for every node and function while it holds the
interpreter's lock, 50 ms at a stretch for a graph of a megabyte, and requests
wait meanwhile; a call through `unlocked` releases the lock for its whole
duration. `locked` keeps it: for calls that take less than a microsecond, where
giving it away would cost a turn.
"""

import ctypes
from collections.abc import Callable, Collection

from tensorflow.python import _pywrap_tensorflow_internal

from serving.errors import ServingError
from serving.wire import codes


class Buffer(ctypes.Structure):
    """`TF_Buffer`: bytes that the runtime owns."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("deallocator", ctypes.c_void_p),
    ]


class Output(ctypes.Structure):
    """`TF_Output`: one output of one node."""

    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


_POINTER = ctypes.c_void_p
_INT = ctypes.c_int
_SIZE = ctypes.c_size_t
_TEXT = ctypes.c_char_p
_POINTERS = ctypes.POINTER(_POINTER)
_OUTPUTS = ctypes.POINTER(Output)
_LONGS = ctypes.POINTER(ctypes.c_int64)

# Opaque handles are `void *`: result, then arguments.
_Types = dict[str, tuple[type | None, list[type]]]
_LOCKED: _Types = {
    "TF_NewStatus": (_POINTER, []),
    "TF_DeleteStatus": (None, [_POINTER]),
    "TF_GetCode": (_INT, [_POINTER]),
    "TF_Message": (_TEXT, [_POINTER]),
    "TF_NewBuffer": (_POINTER, []),
    "TF_NewBufferFromString": (_POINTER, [_TEXT, _SIZE]),
    "TF_DeleteBuffer": (None, [_POINTER]),
    "TF_GetAllOpList": (_POINTER, []),
    "TF_NewGraph": (_POINTER, []),
    "TF_NewSessionOptions": (_POINTER, []),
    "TF_DeleteSessionOptions": (None, [_POINTER]),
    "TF_SetConfig": (None, [_POINTER, _TEXT, _SIZE, _POINTER]),
    "TF_GraphOperationByName": (_POINTER, [_POINTER, _TEXT]),
    "TF_GraphNextOperation": (_POINTER, [_POINTER, ctypes.POINTER(_SIZE)]),
    "TF_OperationNumOutputs": (_INT, [_POINTER]),
    "TF_OperationOpType": (_TEXT, [_POINTER]),
    "TF_AllocateTensor": (_POINTER, [_INT, _LONGS, _INT, _SIZE]),
    "TF_TensorData": (_POINTER, [_POINTER]),
    "TF_TensorType": (_INT, [_POINTER]),
    "TF_NumDims": (_INT, [_POINTER]),
    "TF_Dim": (ctypes.c_int64, [_POINTER, _INT]),
    "TF_DeleteTensor": (None, [_POINTER]),
    "TF_StringGetDataPointer": (_POINTER, [_POINTER]),
    "TF_StringGetSize": (_SIZE, [_POINTER]),
}
_UNLOCKED: _Types = {
    "TF_LoadSessionFromSavedModel": (
        _POINTER,
        [
            *(_POINTER, _POINTER),  # session options, run options
            *(_TEXT, ctypes.POINTER(_TEXT), _INT),  # directory, tags
            *(_POINTER, _POINTER),  # graph, MetaGraphDef's buffer: filled
            _POINTER,  # status
        ],
    ),
    "TF_SessionRun": (
        None,
        [
            *(_POINTER, _POINTER),  # session, run options
            *(_OUTPUTS, _POINTERS, _INT),  # inputs, their tensors, number
            *(_OUTPUTS, _POINTERS, _INT),  # outputs, likewise: filled
            *(_POINTERS, _INT),  # target operations
            *(_POINTER, _POINTER),  # run metadata, status
        ],
    ),
    "TF_CloseSession": (None, [_POINTER, _POINTER]),
    "TF_DeleteSession": (None, [_POINTER, _POINTER]),
    "TF_DeleteGraph": (None, [_POINTER]),
    "TF_TensorFromProto": (None, [_POINTER, _POINTER, _POINTER]),
}


locked = ctypes.PyDLL(_pywrap_tensorflow_internal.__file__)
unlocked = ctypes.CDLL(_pywrap_tensorflow_internal.__file__)
for library, functions in ((locked, _LOCKED), (unlocked, _UNLOCKED)):
    for name, (result, arguments) in functions.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments


def checked(function: Callable[..., int], *arguments: object) -> int:
    """Calls a function whose last argument is a status.

    Raises:
        ServingError: With TensorFlow's code and message.
    """
    status = locked.TF_NewStatus()
    try:
        result = function(*arguments, status)
        code = locked.TF_GetCode(status)
        if code:
            raise ServingError(
                locked.TF_Message(status).decode("utf-8", "replace"),
                codes.NAMES.get(code, "UNKNOWN"),
            )
        return result
    finally:
        locked.TF_DeleteStatus(status)


def outputs(endpoints: Collection[tuple[int, int]]) -> ctypes.Array[Output]:
    """Endpoints as the C API takes them."""
    # An array takes tuples for its structures, faster than those.
    return (Output * len(endpoints))(*endpoints)  # type: ignore[misc]


def buffer_of(data: bytes) -> int:
    """A new buffer with a copy of the bytes; the caller deletes it."""
    return locked.TF_NewBufferFromString(data, len(data))


def content(buffer: int) -> bytes:
    """A copy of what a buffer holds."""
    found = Buffer.from_address(buffer)
    return ctypes.string_at(found.data, found.length)
