"""Which requests may run on the caller's thread, where nothing interrupts them.

A deadline needs a second thread, and the two switches cost more than a small
model itself. So what is asked decides: a request that is no larger in any
dimension than one that was quick, and asks for the same outputs, is quick too.
Where a signature has loops the values decide, and nothing is known to be quick.
"""

import functools
import operator
import time
from collections.abc import Collection, Hashable, Iterable, Mapping, Set

import numpy as np
from tensorflow.core.framework.function_pb2 import FunctionDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.framework.op_def_pb2 import OpList
from tensorflow.core.protobuf import meta_graph_pb2

from serving.server.runtime import c_api
from serving.server.runtime.c_api import locked
from serving.wire import meta_graph_pb2 as light_pb2

QUICK_SECONDS = 0.005
# Sizes remembered a set of outputs, and sets of outputs.
_MAX_SIZES, _MAX_SETS = 8, 64
_LOOPS = ("While", "StatelessWhile", "NextIteration")

Size = tuple[int, ...]


def with_loops(
    graph: light_pb2.GraphDef,
    signatures: Mapping[str, meta_graph_pb2.SignatureDef],
) -> set[str]:
    """Names of the signatures whose time no size tells."""
    functions = graph.library.function
    # Most graphs have none, and are not taken apart.
    if not any(
        name.encode() in part
        for name in _LOOPS
        for part in (*graph.node, *functions)
    ):
        return set()
    parsed = []
    for data in functions:
        parsed.append(FunctionDef.FromString(data))
        time.sleep(0)  # Gives Python's lock to requests.
    # A function that is called by its name may be given functions, too.
    callers_here = callers() | {one.signature.name for one in parsed}
    used = {
        one.signature.name: _used(one.node_def, callers_here) for one in parsed
    }
    looping: set[str] = set()
    found = set(_LOOPS)
    while found - looping:
        looping |= found
        found = {name for name, names in used.items() if names & looping}
    nodes = {node.name: node for node in map(NodeDef.FromString, graph.node)}
    return {
        name
        for name, definition in signatures.items()
        if _used(_behind(definition.outputs.values(), nodes), callers_here)
        & looping
    }


def _behind(
    outputs: Iterable[meta_graph_pb2.TensorInfo], nodes: Mapping[str, NodeDef]
) -> list[NodeDef]:
    """The nodes that outputs are computed from."""
    waiting = [output.name for output in outputs]
    found: dict[str, NodeDef] = {}
    while waiting:
        name = waiting.pop().lstrip("^").partition(":")[0]
        if name in nodes and name not in found:
            found[name] = nodes[name]
            waiting += nodes[name].input
    return list(found.values())


def _used(nodes: Iterable[NodeDef], callers_here: Set[str]) -> set[str]:
    """The operations of nodes, and the functions that these call."""
    found = set()
    for node in nodes:
        found.add(node.op)
        if node.op in callers_here:
            for value in node.attr.values():
                if value.HasField("func"):
                    found.add(value.func.name)
                elif value.HasField("list"):
                    found.update(function.name for function in value.list.func)
    return found


@functools.cache
def callers() -> frozenset[str]:
    """The operations that call functions by an attribute.

    Of those known at the first call, which takes 20 ms of Python's lock.
    """
    buffer = locked.TF_GetAllOpList()
    try:
        known = OpList.FromString(c_api.content(buffer))
    finally:
        locked.TF_DeleteBuffer(buffer)
    return frozenset(
        op.name
        for op in known.op
        if any(attr.type in ("func", "list(func)") for attr in op.attr)
    )


def size_of(arrays: Iterable[np.ndarray]) -> Size:
    """All dimensions of what is asked, and the bytes of its strings."""
    sizes: list[int] = []
    texts: list[bytes] = []
    for array in arrays:
        sizes += array.shape
        if array.dtype.kind == "O":
            texts += array.ravel().tolist()
    sizes.append(len(b"".join(texts)))
    return tuple(sizes)


class Quick:
    """The largest requests of one signature that were quick."""

    def __init__(self) -> None:
        self._sizes: dict[frozenset, list[Size]] = {}

    def knows(self, outputs: Collection[Hashable], size: Size) -> bool:
        """Whether a request is no larger than one that was quick."""
        for known in self._sizes.get(frozenset(outputs), ()):
            if _fits(size, known):
                return True
        return False

    def learn(
        self, outputs: Collection[Hashable], size: Size, seconds: float
    ) -> None:
        """Takes note of how long a request took."""
        key = frozenset(outputs)
        known = self._sizes.get(key, [])
        if seconds >= QUICK_SECONDS:
            kept = [other for other in known if not _fits(size, other)]
        elif any(_fits(size, other) for other in known):
            return
        else:
            kept = [other for other in known if not _fits(other, size)]
            kept = [*kept[-_MAX_SIZES + 1 :], size]
        if key not in self._sizes and len(self._sizes) >= _MAX_SETS:
            return
        # Replaced, never changed: other threads read it meanwhile.
        self._sizes[key] = kept


def _fits(size: Size, known: Size) -> bool:
    return len(size) == len(known) and all(map(operator.le, size, known))
