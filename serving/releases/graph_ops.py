"""Which operations a SavedModel's graph asks for, read without TensorFlow.

Enters: `saved_model.pb`, up to 2 GB with its constants. Only the lengths of
what is passed over are read: the file is mapped, never parsed as a whole.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

from serving.errors import ModelNotFound
from serving.wire.tensors import varint

GRAPH = "saved_model.pb"
# Field numbers from SavedModel to the `op` of a node: meta_graphs, graph_def,
# then node, or library, function and its nodes.
_PATHS = ((2, 2, 1, 2), (2, 2, 2, 1, 3, 2))
# TensorFlow's own operations have no namespace. These the unmodified
# TensorFlow Serving brings besides.
_STOCK_NAMESPACES = frozenset({"TFText"})


def foreign(directory: Path) -> list[str]:
    """Operations that the unmodified TensorFlow Serving lacks, sorted.

    Packages register theirs as `Namespace>Operation`, as ScaNN does; one
    that was registered without a namespace is not recognized.
    """
    return sorted(
        name
        for name in names(directory)
        if ">" in name and name.split(">")[0] not in _STOCK_NAMESPACES
    )


def names(directory: Path) -> set[str]:
    """All operations of the graph and its functions."""
    path = directory / GRAPH
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return {
                data[start:end].decode()
                for steps in _PATHS
                for start, end in _descend(data, 0, len(data), steps)
            }
    except (OSError, ValueError, IndexError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelNotFound(
            f"A version must hold a SavedModel. Received: {reason} (from "
            f"{path}). Publish it again."
        ) from error


def _descend(
    data: mmap.mmap, start: int, end: int, steps: tuple[int, ...]
) -> Iterator[tuple[int, int]]:
    """Where the fields lie that a path of field numbers leads to."""
    for number, first, last in _fields(data, start, end):
        if number != steps[0]:
            continue
        if len(steps) == 1:
            yield first, last
        else:
            yield from _descend(data, first, last, steps[1:])


def _fields(
    data: mmap.mmap, start: int, end: int
) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field of bytes in a message."""
    place = start
    while place < end:
        tag, place = varint(data, place)
        kind = tag & 7
        if kind == 0:
            _, place = varint(data, place)
        elif kind == 2:
            length, place = varint(data, place)
            if place + length > end:
                raise ValueError("a field is longer than its message")
            yield tag >> 3, place, place + length
            place += length
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
        else:
            raise ValueError(f"no field has wire type {kind}")
