"""Which requests may run on the caller's thread, where nothing interrupts them.

A deadline needs a second thread, and the two switches cost more than a small
model itself. So what is asked decides: a request that is no larger in any
dimension than one that was quick, and asks for the same outputs, is quick too.
Where a signature has loops the values decide, and nothing is known to be quick.
"""

import operator
import time
from collections.abc import Collection, Hashable, Iterable, Mapping

import numpy as np
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.protobuf import meta_graph_pb2

QUICK_SECONDS = 0.005
# Sizes remembered a set of outputs, and sets of outputs.
_MAX_SIZES, _MAX_SETS = 8, 64
_LOOPS = ("While", "StatelessWhile", "NextIteration")

Size = tuple[int, ...]


def with_loops(meta_graph: bytes) -> set[str]:
    """Signatures of a serialized `MetaGraphDef` whose time no size tells."""
    # Most graphs have none, and are not taken apart.
    if not any(name.encode() in meta_graph for name in _LOOPS):
        return set()
    graph = meta_graph_pb2.MetaGraphDef.FromString(meta_graph)
    used = {}
    for function in graph.graph_def.library.function:
        used[function.signature.name] = _used(function.node_def)
        time.sleep(0)  # Gives Python's lock to requests.
    looping: set[str] = set()
    found = set(_LOOPS)
    while found - looping:
        looping |= found
        found = {name for name, names in used.items() if names & looping}
    nodes = {node.name: node for node in graph.graph_def.node}
    return {
        name
        for name, definition in graph.signature_def.items()
        if _used(_behind(definition.outputs.values(), nodes)) & looping
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


def _used(nodes: Iterable[NodeDef]) -> set[str]:
    """The operations of nodes, and the functions that these call."""
    found = set()
    for node in nodes:
        found.add(node.op)
        for value in node.attr.values():
            if value.HasField("func"):
                found.add(value.func.name)
            elif value.HasField("list"):
                found.update(function.name for function in value.list.func)
    return found


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
