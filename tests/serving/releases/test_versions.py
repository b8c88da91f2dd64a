"""Names that are versions, and the configuration both servers read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import ServingError
from serving.releases import versions


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("1", 1),
        ("0000123", 123),
        ("0", 0),
        ("-1", -1),
        ("+5", 5),
        ("-0", 0),
        (" 7 ", 7),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("0" * 5000 + "3", 3),
        ("9223372036854775808", None),
        ("-9223372036854775809", None),
        ("9" * 5000, None),
        ("", None),
        (" ", None),
        ("-", None),
        ("+-1", None),
        ("v3", None),
        ("3.tmp", None),
        ("tmp-3", None),
        (".staging-3", None),
        ("1_000", None),
        ("1e3", None),
        ("0x10", None),
        ("٣", None),
        ("1 2", None),
        ("\u00a01", None),
    ],
)
def test_a_name_is_a_version_as_absl_parses_it(
    name: str, number: int | None
) -> None:
    assert versions.parse_version(name) == number


@given(st.integers())
def test_every_int64_and_nothing_larger_is_a_version(number: int) -> None:
    expected = number if -(2**63) <= number < 2**63 else None
    assert versions.parse_version(str(number)) == expected


@given(st.text(max_size=8))
def test_any_name_is_answered(name: str) -> None:
    found = versions.parse_version(name)
    assert found is None or found == int(name)


def test_versions_ascend_as_numbers(tmp_path: Path) -> None:
    for name in ("10", "9", "0000100", "-2", "v1", ".staging-11"):
        (tmp_path / name).mkdir()
    (tmp_path / "7").touch()
    assert versions.list_versions(tmp_path) == [-2, 7, 9, 10, 100]
    assert versions.list_versions(tmp_path / "absent") == []


def test_the_name_that_sorts_last_stands_for_its_number(
    tmp_path: Path,
) -> None:
    for name in ("1", "001", "+1"):
        (tmp_path / name).mkdir()
    assert versions.find_versions(tmp_path) == {1: tmp_path / "1"}


MODELS = {"retrieval": ("/models/a b", [3]), "ränk'\"\\": ("/x", [1, -2])}


def test_a_configuration_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "models.config"
    versions.write_models_config(path, MODELS, comment="live: 3\n# as it is")
    assert versions.read_models_config(path) == MODELS
    assert path.read_text().splitlines()[:2] == ["# live: 3", "# as it is"]
    versions.write_models_config(path, {})
    assert versions.read_models_config(path) == {}
    assert os.listdir(path.parent) == ["models.config"]


def test_tensorflow_serving_reads_the_same(tmp_path: Path) -> None:
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    path = tmp_path / "models.config"
    versions.write_models_config(path, MODELS, comment="note")
    config = text_format.Parse(
        path.read_text(), model_server_config_pb2.ModelServerConfig()
    )
    entries = config.model_config_list.config
    assert {
        entry.name: (
            entry.base_path,
            list(entry.model_version_policy.specific.versions),
        )
        for entry in entries
    } == MODELS
    assert {entry.model_platform for entry in entries} == {"tensorflow"}


def test_what_an_operator_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text(
        "model_config_list: { config: { name: 'm', base_path: '/m' "
        "model_platform: 'tensorflow' model_version_policy { latest {} } "
        "version_labels { key: 'stable' value: 1 } "
        "logging_config { sampling_config { sampling_rate: 0.1 } } } }"
    )
    assert versions.read_models_config(path) == {"m": ("/m", [])}


def test_what_is_no_configuration_is_named(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text("model_config_list {")
    with pytest.raises(ServingError, match="models.config"):
        versions.read_models_config(path)


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "models.config"
    versions.write_models_config(path, {"m": ("/m", [1])})

    def fail(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            versions.write_models_config(path, {"m": ("/m", [2])})
    assert versions.read_models_config(path) == {"m": ("/m", [1])}
    assert os.listdir(tmp_path) == ["models.config"]


def test_tensorflow_is_not_imported() -> None:
    code = "import sys, serving.releases.versions as _; "
    code += "sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
