"""Metadata, status, labels and reloads as TensorFlow Serving answers."""

import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2

from tests.support import serving_models
from tests.support.serving_calls import (
    InProcess,
    metadata_request,
    predict_request,
    reload_request,
    running,
    states,
    status_request,
)
from tests.support.waiting import eventually

INVALID = "INVALID_ARGUMENT"
ALL = {"model_version_policy": {"all": {}}}


@pytest.fixture
def base(tmp_path):
    """Models "affine" with versions 1 and 2, "other" with version 5."""
    originals = serving_models.originals()
    for name, version, source in (
        ("affine", 1, "affine"),
        ("affine", 2, "third"),
        ("other", 5, "third"),
    ):
        serving_models.publish(originals[source], tmp_path / name, version)
    return tmp_path


def _model(base, name, **fields):
    return {"name": name, "base_path": str(base / name)} | fields


@pytest.fixture(params=["in process", "grpc"])
def call(request, base):
    config = base / "models.config"
    config.write_text(
        f"model_config_list {{ config {{ name: 'affine' base_path: "
        f"'{base / 'affine'}' model_platform: 'tensorflow' "
        "model_version_policy { all {} } } }"
    )
    with running(f"--model_config_file={config}") as (server, remote):
        eventually(lambda: set(states(remote).values()) == {"AVAILABLE"})
        if request.param == "grpc":
            yield remote
        else:
            yield InProcess(server.servicer)


def _version(call, **chosen):
    return call(predict_request(**chosen)).model_spec.version.value


def test_metadata_is_the_signature_map_as_it_is(call, base):
    answer = call(metadata_request(version=1))
    assert answer.model_spec.name == "affine"
    assert answer.model_spec.version.value == 1
    assert answer.model_spec.signature_name == ""
    assert set(answer.metadata) == {"signature_def"}
    packed = answer.metadata["signature_def"]
    assert packed.type_url == (
        "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    )
    found = get_model_metadata_pb2.SignatureDefMap()
    assert packed.Unpack(found)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.loader.load(
            session, ["serve"], str(base / "affine" / "1")
        )
    assert dict(found.signature_def) == dict(loaded.signature_def)
    assert "__saved_model_init_op" in found.signature_def
    assert call(metadata_request()).model_spec.version.value == 2


FIELDS = "must specify at least one metadata_field"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"name": None, "fields": ()}, INVALID, "Missing ModelSpec"),
        ({"name": "m", "fields": ()}, INVALID, FIELDS),
        (
            {"name": "m", "fields": ("signature_def", "f")},
            INVALID,
            "Metadata field f is not supported",
        ),
        ({"name": ""}, INVALID, "ModelSpec has no name specified."),
        ({"name": "m"}, "NOT_FOUND", "request: Latest(m)"),
        ({"version": 9}, "NOT_FOUND", "request: Specific(affine, 9)"),
        ({"label": "x"}, INVALID, "version label: x"),
    ],
)
def test_errors_of_metadata(call, options, code, message):
    found = call.error(metadata_request(**options))
    assert found[0] == code
    assert message in found[1]


def test_status_lists_versions_descending(call):
    answer = call(status_request())
    found = [(s.version, s.state) for s in answer.model_version_status]
    assert found == [(2, 30), (1, 30)]
    for entry in answer.model_version_status:
        assert entry.status.error_code == 0
        assert entry.status.error_message == ""
    answer = call(status_request(version=1))
    assert [s.version for s in answer.model_version_status] == [1]
    # A label is not looked at.
    answer = call(status_request(label="nonsense"))
    assert len(answer.model_version_status) == 2


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"name": None}, INVALID, "Missing ModelSpec"),
        (
            {"name": "m"},
            "NOT_FOUND",
            "Could not find any versions of model m",
        ),
        (
            {"name": ""},
            "NOT_FOUND",
            "Could not find any versions of model ",
        ),
        (
            {"version": 9},
            "NOT_FOUND",
            "Could not find version 9 of model affine",
        ),
    ],
)
def test_errors_of_status(call, options, code, message):
    assert call.error(status_request(**options)) == (code, message)


def test_a_reload_replaces_the_list(call, base):
    answer = call(
        reload_request(_model(base, "other"), metric_names=["/a", "/a"])
    )
    assert answer.HasField("status")
    assert answer.status.error_code == 0
    assert [m.name for m in answer.metric] == ["/a"]
    assert _version(call, name="other") == 5
    eventually(lambda: states(call) == {1: "END", 2: "END"})
    assert call.error(predict_request())[0] == "NOT_FOUND"
    call(reload_request())
    eventually(lambda: states(call, "other") == {5: "END"})
    # Brought back, it answers again.
    call(reload_request(_model(base, "affine")))
    assert _version(call) == 2
    assert states(call) == {1: "END", 2: "AVAILABLE"}


def test_the_same_config_again_reloads_nothing(call, base):
    request = reload_request(_model(base, "affine", **ALL))
    for _ in range(3):
        call(request)
    assert states(call) == {1: "AVAILABLE", 2: "AVAILABLE"}


def test_policies_pick_versions(call, base):
    def serve(policy):
        call(
            reload_request(_model(base, "affine", model_version_policy=policy))
        )

    serve({"specific": {"versions": [1, 77]}})
    eventually(lambda: states(call) == {1: "AVAILABLE", 2: "END"})
    assert _version(call) == 1
    serve({"latest": {}})
    eventually(lambda: states(call) == {1: "END", 2: "AVAILABLE"})
    serve({"latest": {"num_versions": 2}})
    eventually(lambda: set(states(call).values()) == {"AVAILABLE"})


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (
            [{"name": "m", "base_path": "/m"}] * 2,
            "Illegal to list model m multiple times in config list",
        ),
        (
            [{"name": "m", "base_path": "m"}],
            "Expected model m to have an absolute path or URI",
        ),
        (
            [{"name": "m", "base_path": "/\0m"}],
            "Expected model m to have an absolute path or URI",
        ),
        (
            [{"name": "m", "base_path": "/m", "model_platform": "p"}],
            "Model m requests unsupported platform p",
        ),
        (
            [{"name": "m", "base_path": "/m", "model_platform": ""}],
            "Illegal setting neither ModelServerConfig::model_type "
            "(deprecated) nor ModelServerConfig::model_platform",
        ),
        (
            [{"name": "affine", "base_path": "/m", "model_platform": "p"}],
            "Illegal to change a model's platform",
        ),
    ],
)
def test_configs_that_are_refused(call, models, message):
    code, found = call.error(reload_request(*models))
    assert code == INVALID
    assert message in found
    assert _version(call) == 2


def test_only_lists_can_be_reloaded(call):
    request = reload_request()
    request.config.Clear()
    message = "Only ModelConfigList is currently supported"
    assert message in call.error(request)[1]
    request.config.custom_model_config.type_url = "x"
    code, found = call.error(request)
    assert (code, message in found) == (INVALID, True)


def test_a_platform_left_out_of_a_new_model_spoils_later_reloads(call, base):
    good = reload_request(_model(base, "affine", **ALL))
    # A known name is refused before the config is replaced.
    call.error(reload_request(_model(base, "affine", model_platform="")))
    call(good)
    call.error(reload_request(_model(base, "other", model_platform="")))
    assert call.error(good)[0] == INVALID


def test_labels_follow_the_config(call, base):
    def labelled(**labels):
        return reload_request(
            _model(base, "affine", version_labels=labels, **ALL)
        )

    call(labelled(stable=1, canary=2, old=1))
    assert _version(call, label="stable") == 1
    assert _version(call, label="canary") == 2
    answer = call(predict_request(label="old"))
    assert answer.model_spec.WhichOneof("version_choice") == "version"
    call(labelled(stable=2))
    assert _version(call, label="stable") == 2
    assert "label: old" in call.error(predict_request(label="old"))[1]
    code, message = call.error(labelled(stable=3))
    assert code == "FAILED_PRECONDITION"
    assert message == (
        "Request to assign label to version 3 of model affine, which is not "
        "currently available for inference"
    )
    assert _version(call, label="stable") == 2


def test_a_label_of_an_unloaded_version_is_not_found(call, base):
    call(
        reload_request(
            _model(
                base,
                "affine",
                version_labels={"old": 1},
                model_version_policy={"specific": {"versions": [2]}},
            )
        )
    )
    eventually(lambda: states(call)[1] == "END")
    assert call.error(predict_request(label="old")) == (
        "NOT_FOUND",
        "Servable not found for request: Specific(affine, 1)",
    )


def test_a_new_model_that_cannot_load_fails_the_reload(call, base):
    serving_models.break_model(base / "broken", 4)
    code, message = call.error(
        reload_request(_model(base, "affine", **ALL), _model(base, "broken"))
    )
    assert code == "UNKNOWN"
    assert message.startswith(
        "1 model(s) did not become available: {{{name: broken version: 4} "
        "due to error: "
    )
    entry = call(status_request("broken")).model_version_status[0]
    assert entry.state == 50
    assert entry.status.error_code != 0
    assert entry.status.error_message
    assert _version(call) == 2


def test_labels_of_versions_to_come_need_a_flag(base):
    flags = (
        "--model_name=other",
        f"--model_base_path={base / 'other'}",
        "--allow_version_labels_for_unavailable_models",
    )
    with running(*flags) as (_, remote):

        def labelled(version):
            return reload_request(
                _model(base, "other", version_labels={"next": version})
            )

        remote(labelled(6))
        error = remote.error(predict_request("other", label="next"))
        assert error[0] == "NOT_FOUND"
        # In use, it moves to loaded versions only.
        assert remote.error(labelled(7))[0] == "FAILED_PRECONDITION"
        remote(labelled(5))
        assert _version(remote, name="other", label="next") == 5


def test_a_reload_that_nobody_awaits_frees_the_lock(base):
    flags = ("--model_name=other", f"--model_base_path={base / 'other'}")
    with running(*flags) as (_, remote):
        (base / "empty").mkdir()
        endless = reload_request(_model(base, "other"), _model(base, "empty"))
        assert remote.error(endless, timeout=0.5)[0] == "DEADLINE_EXCEEDED"
        remote(reload_request(_model(base, "other")), timeout=5)


def test_callers_may_be_kept_from_the_config(tmp_path):
    serving_models.publish(
        serving_models.originals()["affine"], tmp_path / "affine", 1
    )
    with running(
        "--model_name=affine",
        f"--model_base_path={tmp_path / 'affine'}",
        "--enable_reload_rpc=false",
    ) as (_, remote):
        code, message = remote.error(reload_request())
        assert code == "PERMISSION_DENIED"
        assert "--enable_reload_rpc=true" in message
        # What an empty config would have taken away.
        assert remote(predict_request()).model_spec.version.value == 1
