"""Versions that come, go, fail and are swapped under a running server."""

import gc
import shutil
import time

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.errors import ServingError
from tests.support import serving_models
from tests.support.serving_calls import (
    predict_request,
    regress_request,
    running,
    states,
    status_request,
)
from tests.support.waiting import eventually

ORIGINAL = serving_models.originals


@pytest.fixture
def base(tmp_path):
    """Base path of the model "affine" with version 1."""
    serving_models.publish(ORIGINAL()["affine"], tmp_path / "affine", 1)
    return tmp_path / "affine"


def _serve(base, *flags):
    return running("--model_name=affine", f"--model_base_path={base}", *flags)


def _version(remote, **chosen):
    return remote(predict_request(**chosen)).model_spec.version.value


def test_a_renamed_version_answers_within_a_second_or_so(base):
    with _serve(base) as (_, remote):
        assert _version(remote) == 1
        serving_models.publish(ORIGINAL()["third"], base, 2)
        started = time.monotonic()
        eventually(lambda: _version(remote) == 2)
        assert time.monotonic() - started < 3
        eventually(lambda: states(remote) == {1: "END", 2: "AVAILABLE"})
        assert remote.error(predict_request(version=1)) == (
            "NOT_FOUND",
            "Servable not found for request: Specific(affine, 1)",
        )


def test_names_are_numbers_or_ignored(base):
    for name in ("v3", "tmp-4", "5.tmp"):
        shutil.copytree(base / "1", base / name)
    for name in ("9", "0000010", "-1"):
        serving_models.publish(base / "1", base, name)
    with _serve(base) as (_, remote):
        assert _version(remote) == 10
        assert states(remote) == {10: "AVAILABLE"}


def test_a_negative_version_is_served(base):
    (base / "1").rename(base / "-1")
    with _serve(base) as (_, remote):
        assert _version(remote, version=-1) == -1


def test_a_broken_version_leaves_the_old_one_serving(base):
    with _serve(base) as (_, remote):
        serving_models.break_model(base, 2)
        eventually(lambda: states(remote).get(2) == "END")
        (entry,) = remote(status_request(version=2)).model_version_status
        assert entry.status.error_code == 11
        assert "Read less bytes" in entry.status.error_message
        assert _version(remote) == 1
        # A good one after it takes over.
        serving_models.publish(ORIGINAL()["third"], base, 3)
        eventually(lambda: _version(remote) == 3)
        eventually(
            lambda: states(remote) == {1: "END", 2: "END", 3: "AVAILABLE"}
        )


def test_a_file_named_as_a_number_fails_with_code_9(base):
    with _serve(base) as (_, remote):
        (base / "7").write_text("no directory")
        eventually(lambda: states(remote).get(7) == "END")
        (entry,) = remote(status_request(version=7)).model_version_status
        assert entry.status.error_code == 9
        assert _version(remote) == 1


def test_a_missing_base_path_unloads_nothing_an_empty_one_all(base):
    with _serve(base) as (_, remote):
        aside = base.with_name("aside")
        base.rename(aside)
        time.sleep(1.3)
        assert _version(remote) == 1
        base.mkdir()
        eventually(lambda: states(remote) == {1: "END"})
        assert remote.error(predict_request())[0] == "NOT_FOUND"
        shutil.copytree(aside / "1", base / ".staged")
        (base / ".staged").rename(base / "1")
        eventually(lambda: states(remote) == {1: "AVAILABLE"})


def test_the_next_lower_version_follows_a_removed_one(base):
    serving_models.publish(ORIGINAL()["third"], base, 2)
    with _serve(base) as (_, remote):
        assert _version(remote) == 2
        shutil.rmtree(base / "2")
        eventually(lambda: states(remote) == {1: "AVAILABLE", 2: "END"})
        assert _version(remote) == 1


def test_polling_can_be_switched_off(base):
    with _serve(base, "--file_system_poll_wait_seconds=0") as (_, remote):
        serving_models.publish(ORIGINAL()["third"], base, 2)
        time.sleep(1.3)
        assert states(remote) == {1: "AVAILABLE"}


def test_one_bad_model_never_stalls_the_others(base, tmp_path):
    serving_models.publish(ORIGINAL()["affine"], tmp_path / "bad", 1)
    config = tmp_path / "models.config"
    config.write_text(
        "model_config_list {"
        + "".join(
            f"config {{ name: '{name}' base_path: '{tmp_path / name}' "
            "model_platform: 'tensorflow' }"
            for name in ("affine", "bad")
        )
        + "}"
    )
    with running(
        f"--model_config_file={config}",
        "--max_num_load_retries=5",
        "--load_retry_interval_micros=60000000",
    ) as (_, remote):
        serving_models.break_model(tmp_path / "bad", 2)
        eventually(lambda: states(remote, "bad").get(2) == "LOADING")
        serving_models.publish(ORIGINAL()["third"], base, 2)
        eventually(lambda: _version(remote) == 2)
        assert _version(remote, name="bad") == 1
        # Nor does a base path that is gone.
        shutil.rmtree(tmp_path / "bad")
        serving_models.publish(ORIGINAL()["affine"], base, 3)
        eventually(lambda: _version(remote) == 3)


def test_failed_loads_are_tried_again(base):
    with _serve(
        base,
        "--max_num_load_retries=50",
        "--load_retry_interval_micros=50000",
    ) as (_, remote):
        serving_models.break_model(base, 2)
        eventually(lambda: states(remote).get(2) == "LOADING")
        good = ORIGINAL()["third"]
        shutil.copytree(good / "variables", base / "2" / "variables")
        shutil.copy(good / "saved_model.pb", base / "2" / "new")
        (base / "2" / "new").rename(base / "2" / "saved_model.pb")
        eventually(lambda: _version(remote) == 2)


@pytest.mark.parametrize(
    ("records", "code", "message"),
    [
        ([predict_request("x", signature="none")], 9, "signature key"),
        ([predict_request("x", inputs={"x": [1]})], 3, "Expects arg[0]"),
        ([b"\xff\xff"], 3, "Failed to parse warmup record"),
        ([predict_request("x")] * 1001, 3, "exceeds the maximum (1000)"),
        ("not a record file", 15, ""),
    ],
)
def test_a_warm_up_that_fails_makes_the_load_fail(
    base, tmp_path, records, code, message
):
    model = shutil.copytree(ORIGINAL()["third"], tmp_path / "warm")
    if isinstance(records, str):
        path = model / serving_models.WARMUP
        path.parent.mkdir()
        path.write_text(records)
    else:
        serving_models.write_warmup(model, *records)
    with _serve(base) as (_, remote):
        serving_models.publish(model, base, 2)
        eventually(lambda: states(remote).get(2) == "END")
        (entry,) = remote(status_request(version=2)).model_version_status
        assert entry.status.error_code == code
        assert message in entry.status.error_message
        assert _version(remote) == 1


def test_warm_up_replays_every_kind_before_the_version_answers(tmp_path):
    model = shutil.copytree(ORIGINAL()["examples"], tmp_path / "warm")
    regress = prediction_log_pb2.PredictionLog()
    regress.regress_log.request.CopyFrom(regress_request(name="other"))
    serving_models.write_warmup(
        model, prediction_log_pb2.PredictionLog(), regress
    )
    serving_models.publish(model, tmp_path / "examples", 1)
    flags = (
        "--model_name=examples",
        f"--model_base_path={tmp_path / 'examples'}",
        "--num_request_iterations_for_warmup=2",
    )
    with running(*flags) as (server, _):
        page = server.metrics.page()
        assert ":tensorflow:serving:model_warmup_latency_count" in page


def test_warm_up_can_be_switched_off(base):
    serving_models.write_warmup(base / "1", b"\xff\xff")
    with _serve(base, "--enable_model_warmup=false") as (_, remote):
        assert _version(remote) == 1
    with pytest.raises(ServingError), _serve(base):
        pass


def test_a_start_that_fails_names_the_versions(base):
    shutil.rmtree(base)
    serving_models.break_model(base, 3)
    with pytest.raises(ServingError) as caught, _serve(base):
        pass
    assert caught.value.code == "UNKNOWN"
    assert str(caught.value).startswith(
        "1 servable(s) did not become available: {{{name: affine version: 3} "
        "due to error: "
    )


def test_labels_in_the_first_config_fail_the_start(base, tmp_path):
    config = tmp_path / "models.config"
    config.write_text(
        f"model_config_list {{ config {{ name: 'affine' base_path: '{base}' "
        "model_platform: 'tensorflow' version_labels { key: 'stable' "
        "value: 1 } } }"
    )
    flag = f"--model_config_file={config}"
    with pytest.raises(ServingError, match="label to version 1") as caught:
        with running(flag):
            pass
    assert caught.value.code == "FAILED_PRECONDITION"
    with running(flag, "--allow_version_labels_for_unavailable_models") as (
        _,
        remote,
    ):
        assert _version(remote, label="stable") == 1


def test_a_polled_config_is_applied_and_a_broken_one_is_not(base, tmp_path):
    serving_models.publish(ORIGINAL()["third"], tmp_path / "other", 5)
    path = tmp_path / "models.config"

    def write(text):
        staged = tmp_path / "staged"
        staged.write_text(text)
        staged.rename(path)

    def entry(name, versions):
        listed = " ".join(f"versions: {number}" for number in versions)
        return (
            f"config {{ name: '{name}' base_path: '{tmp_path / name}' "
            "model_platform: 'tensorflow' model_version_policy { specific { "
            f"{listed} }} }} }}"
        )

    write(f"model_config_list {{ {entry('affine', [1])} }}")
    with running(
        f"--model_config_file={path}",
        "--model_config_file_poll_wait_seconds=1",
    ) as (_, remote):
        serving_models.publish(ORIGINAL()["third"], base, 2)
        write("model_config_list {")
        time.sleep(1.2)
        assert _version(remote) == 1
        write(
            f"model_config_list {{ {entry('affine', [2])} "
            f"{entry('other', [5])} }}"
        )
        eventually(lambda: _version(remote) == 2)
        eventually(lambda: states(remote, "other") == {5: "AVAILABLE"})
        assert _version(remote, name="other") == 5
        path.unlink()
        time.sleep(1.2)
        # Back to the version before, as a rollback does.
        write(f"model_config_list {{ {entry('affine', [1])} }}")
        eventually(lambda: _version(remote) == 1)
        eventually(lambda: states(remote, "other") == {5: "END"})


def test_a_version_frees_its_memory(base):
    """Twenty swaps must not keep twenty models."""
    with _serve(base, "--file_system_poll_wait_seconds=0") as (server, remote):

        def graphs():
            gc.collect()
            return sum(
                isinstance(item, tf.compat.v1.Session)
                for item in gc.get_objects()
            )

        before = graphs()
        for version in range(2, 6):
            serving_models.publish(ORIGINAL()["affine"], base, version)
            shutil.rmtree(base / str(version - 1))
            server.core.source.poll()
            eventually(lambda v=version: _version(remote) == v)
        eventually(lambda: list(states(remote).values()).count("END") == 4)
        assert graphs() <= before + 1
