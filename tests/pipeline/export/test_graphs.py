"""What a server finds in the graphs that are exported."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.core.framework.function_pb2 import FunctionDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.protobuf import config_pb2, saved_model_pb2

from pipeline.export import tracing
from serving import signatures

_READ, _GATHER = "ReadVariableOp", "ResourceGather"


def graph_of(model: Path) -> tuple[list[NodeDef], dict[str, FunctionDef]]:
    """The nodes of a SavedModel's graph, and its functions by name."""
    content = (model / "saved_model.pb").read_bytes()
    graph = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0]
    functions = graph.graph_def.library.function
    return list(graph.graph_def.node), {
        function.signature.name: function for function in functions
    }


def readers(
    nodes: Iterable[NodeDef],
    functions: Mapping[str, FunctionDef],
    variables: Mapping[str, str],
) -> set[tuple[str, str]]:
    """Pairs of a variable and an operation that reads it.

    Args:
        variables: Names of variables, by that of what hands them in.
    """
    known = dict(variables)
    known |= {
        node.name: node.name for node in nodes if node.op == "VarHandleOp"
    }
    found = set()
    for node in nodes:
        given = [
            known.get(name.partition(":")[0])
            for name in node.input
            if not name.startswith("^")
        ]
        if node.op in (_READ, _GATHER) and given[0]:
            found.add((given[0], node.op))
        # The first input of a conditional is what it goes by.
        given = given[1:] if node.op in ("If", "StatelessIf") else given
        for value in node.attr.values():
            called = functions.get(value.func.name)
            # What fills the tables does so before anything gathers from them.
            if called is None or "initializer" in called.signature.name:
                continue
            names = [argument.name for argument in called.signature.input_arg]
            handed = {
                name: variable
                for name, variable in zip(names, given, strict=False)
                if variable
            }
            found |= readers(called.node_def, functions, handed)
    return found


@pytest.mark.parametrize("name", signatures.BUNDLE)
def test_no_table_copies_itself_when_it_is_read(
    exports: Path, name: str
) -> None:
    # TensorFlow copies a variable at every read once something gathers from it.
    nodes, functions = graph_of(exports / name)
    called = [node for node in nodes if node.op == "StatefulPartitionedCall"]
    handles = [node for node in nodes if node.op == "VarHandleOp"]
    asked = [
        node
        for node in called
        if "signature_wrapper" in node.attr["f"].func.name
    ]
    assert len(asked) == len(signatures.SIGNATURES[name])
    found = readers([*handles, *asked], functions, {})
    read = {variable for variable, operation in found if operation == _READ}
    gathered = {variable for variable, way in found if way == _GATHER}
    assert read
    assert gathered
    assert not read & gathered


def test_the_check_sees_a_table_that_does(tmp_path: Path) -> None:
    module = tf.Module()
    module.table = tf.Variable(tf.ones([3, 2]))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "rows")])
    def both(rows: tf.Tensor) -> dict[str, tf.Tensor]:
        found = tf.gather(module.table, rows)
        return {"scores": tf.matmul(found, module.table, transpose_b=True)}

    tf.saved_model.save(module, str(tmp_path), signatures=both)
    found = readers(*graph_of(tmp_path), {})
    (table,) = {variable for variable, way in found if way == _GATHER}
    assert (table, _READ) in found


def test_what_a_graph_calls_is_not_optimized_by_itself(exports: Path) -> None:
    nodes, functions = graph_of(exports / signatures.RECOMMENDER)
    for function in functions.values():
        nodes += function.node_def
    calls = [
        config_pb2.ConfigProto.FromString(node.attr["config_proto"].s)
        for node in nodes
        if "config_proto" in node.attr
    ]
    assert len(calls) > len(signatures.SIGNATURES[signatures.RECOMMENDER])
    for config in calls:
        assert config.graph_options.rewrite_options.disable_meta_optimizer


def test_what_is_traced_elsewhere_stays_as_it_is() -> None:
    before = tf.config.optimizer.get_experimental_options()
    with tracing.optimized_once():
        inside = tf.config.optimizer.get_experimental_options()
    assert inside["disable_meta_optimizer"]
    after = tf.config.optimizer.get_experimental_options()
    assert not after.pop("disable_meta_optimizer")
    before.pop("disable_meta_optimizer", None)
    assert after == before
