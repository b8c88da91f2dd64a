"""Operations of a SavedModel, and pointers that look at them."""

import mmap
import random

import pytest
from tensorflow.core.framework import op_def_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.client import pywrap_tf_session as c_api

from serving.errors import ServingError
from serving.releases import graph_ops, pointer, versions
from serving.releases.phases import Phases
from tests.support import serving_models


def write(directory, *ops, in_function=()):
    """A SavedModel whose graph has these operations."""
    saved = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    graph = saved.meta_graphs.add().graph_def
    for index, op in enumerate(ops):
        node = graph.node.add(name=f"n{index}", op=op)
        node.attr["value"].tensor.tensor_content = b"\x12\x03" * 1000
    function = graph.library.function.add()
    function.signature.name = "f"
    for op in in_function:
        function.node_def.add(name=op, op=op)
    directory.mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(saved.SerializeToString())
    return directory


def test_all_operations_are_found_and_foreign_ones_told_apart(tmp_path):
    path = write(
        tmp_path / "1",
        *("Const", "MatMul", "TFText>WhitespaceTokenizeWithOffsetsV2"),
        in_function=("Scann>ScannSearchBatched", "Add"),
    )
    assert graph_ops.names(path) == {
        *("Const", "MatMul", "TFText>WhitespaceTokenizeWithOffsetsV2"),
        *("Scann>ScannSearchBatched", "Add"),
    }
    assert graph_ops.foreign(path) == ["Scann>ScannSearchBatched"]


def test_it_reads_what_tensorflow_writes():
    path = serving_models.originals()["affine"]
    saved = saved_model_pb2.SavedModel.FromString(
        (path / "saved_model.pb").read_bytes()
    )
    graph = saved.meta_graphs[0].graph_def
    nodes = list(graph.node)
    for function in graph.library.function:
        nodes += function.node_def
    assert graph_ops.names(path) == {node.op for node in nodes}
    assert graph_ops.foreign(path) == []


def test_none_of_tensorflows_own_has_a_namespace():
    registered = op_def_pb2.OpList.FromString(
        c_api.TF_GetBuffer(c_api.TF_GetAllOpList())
    )
    names = {op.name for op in registered.op}
    assert "MatMul" in names
    # TensorFlow registers one for its own tests; another test may have loaded
    # those of ScaNN.
    assert {n.split(">")[0] for n in names if ">" in n} <= {
        "Namespace",
        "Scann",
    }


def test_what_is_no_graph_is_an_error_not_a_crash(tmp_path):
    with pytest.raises(ServingError, match="saved_model"):
        graph_ops.names(tmp_path)
    path = write(tmp_path / "1", "Const", in_function=("Add",))
    good = (path / "saved_model.pb").read_bytes()
    source = random.Random(3)
    for _ in range(300):
        made = bytearray(good[: source.randrange(1, len(good))])
        made[source.randrange(len(made))] = source.randrange(256)
        (path / "saved_model.pb").write_bytes(bytes(made))
        try:
            graph_ops.names(path)
        except ServingError as error:
            assert str(path) in str(error)
    with mmap.mmap(-1, 16) as data, pytest.raises(ValueError, match="wire"):
        data[:2] = b"\x07\x00"
        list(graph_ops._fields(data, 0, 2))


@pytest.fixture
def repository(tmp_path):
    def release(number, *ops):
        for model in ("ranking", "retrieval"):
            write(tmp_path / model / str(number), *ops)
        versions.write_models_config(
            tmp_path / "models.config",
            {m: (f"/x/{m}", [number]) for m in ("ranking", "retrieval")},
        )

    release.directory = tmp_path
    return release


@pytest.fixture
def follower(repository):
    def start():
        return pointer.Follower(
            repository.directory / "models.config",
            repository.directory / "pointers",
            {"stock": ("ranking",), "scann": ("retrieval",)},
            phases=Phases(0),
            stock=frozenset({"stock"}),
        )

    return start


def listed(follower, group):
    (found,) = versions.read_models_config(
        follower.directory / f"{group}.config"
    ).values()
    return found[1]


def test_a_stock_group_is_never_handed_what_it_cannot_load(
    repository, follower
):
    repository(1, "Const")
    found = follower()
    found.step(0)
    repository(2, "Scann>ScannSearch", "Addons>Image")
    found.step(1)

    assert listed(found, "stock") == [1]
    # The client asks ranking for retrieval's version: the release waits.
    assert listed(found, "scann") == [1]
    (line, waits) = found.held
    assert "\n" not in line
    assert "ranking version 2" in line
    assert "Addons>Image, Scann>ScannSearch" in line
    assert "ranking version 2" in waits
    # A new process finds the version before, and a good release goes on.
    found = follower()
    found.step(2)
    assert listed(found, "stock") == [1]
    repository(3, "Const")
    for now in (3, 4, 5):
        found.step(now)
    assert 3 in listed(found, "stock")
    assert listed(found, "scann") == [3]


def test_without_any_good_version_the_group_says_why(repository, follower):
    repository(1, "Scann>ScannSearch")

    with pytest.raises(ServingError, match="Scann>ScannSearch"):
        follower().step(0)


def test_other_groups_are_not_looked_at(repository, follower):
    repository(1, "Scann>ScannSearch")
    found = follower()
    found.stock = frozenset()
    found.step(0)

    assert listed(found, "stock") == [1]
