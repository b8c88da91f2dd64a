"""Releases that are complete or absent, and the way back."""

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.export import catalogue
from pipeline.release import gate, publish, repository
from pipeline.release.gate import GateRejected
from pipeline.run import manifest
from pipeline.run.config import Config
from pipeline.run.release import PublishConfig
from pipeline.warm import carried
from serving import signatures
from serving.client import fallback
from serving.client.command import tables
from serving.errors import ServingError
from serving.releases import files, history, ledger, versions
from tests.support import evaluations
from tests.support.staged import served, stage


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(name="test", seed=1, artifacts=str(tmp_path / "artifacts"))


def test_versions_count_up_and_rollback_moves_the_pointer_alone(
    config: Config,
) -> None:
    for number in (1, 2, 3):
        assert publish.run(config, *stage(config, f"b{number}")) == (
            number,
            True,
        )
    assert served(config) == {name: [3] for name in signatures.BUNDLE}
    before = {
        path: path.read_bytes()
        for path in config.serving_directory.rglob("*")
        if path.is_file() and path.name not in (publish.POINTER, ledger.FILE)
    }
    assert publish.rollback(config) == (3, 2)
    assert served(config) == {name: [2] for name in signatures.BUNDLE}
    # The version rolled back from is not what a later rollback returns to.
    assert publish.run(config, *stage(config, "b4")) == (4, True)
    assert publish.rollback(config) == (4, 2)
    assert publish.rollback(config) == (2, 1)
    with pytest.raises(GateRejected, match="needs an earlier release"):
        publish.rollback(config)
    assert all(path.read_bytes() == data for path, data in before.items())


def test_a_live_bundle_is_not_published_twice(config: Config) -> None:
    assert publish.run(config, *stage(config, "b1")) == (1, True)
    assert publish.run(config, *stage(config, "b1")) == (1, False)


def test_every_model_of_a_release_tells_version_and_bundle(
    config: Config,
) -> None:
    publish.run(config, *stage(config, "b1"))
    for name in signatures.BUNDLE:
        directory = config.serving_directory / name / "1"
        facts = json.loads(
            (
                directory / signatures.EXTRA_ASSETS / manifest.MANIFEST
            ).read_text()
        )
        assert (facts["version"], facts["bundle_id"]) == (1, "b1")


def test_a_release_without_a_student_carries_its_training(
    config: Config,
) -> None:
    """As where items of the history may be answered, which no student does."""
    exports, evaluation = stage(config, "b1")
    ondevice = config.run_directory / "ondevice-export"
    (ondevice / carried.FOLDER).mkdir(parents=True)
    (ondevice / carried.FOLDER / "base.npz").write_bytes(b"weights")
    publish.run(config, exports, evaluation, ondevice)
    training = config.serving_directory / carried.FOLDER / "1"
    assert (training / "base.npz").read_bytes() == b"weights"


def test_a_rejected_bundle_changes_nothing_but_writes_the_reasons(
    config: Config,
) -> None:
    publish.run(config, *stage(config, "b1"))
    exports, path = stage(config, "b2")
    evaluations.made("b2", popularity=0.9).write(path)
    with pytest.raises(GateRejected):
        publish.run(config, exports, path)
    assert served(config) == {name: [1] for name in signatures.BUNDLE}
    found = json.loads((path.parent / gate.RESULT).read_text())
    assert found["accepted"] is False
    assert "popularity" in found["reasons"][0]


def test_an_evaluation_of_another_bundle_is_refused(config: Config) -> None:
    exports, path = stage(config, "b2")
    evaluations.made("b1").write(path)
    with pytest.raises(GateRejected, match="must be of the staged bundle"):
        publish.run(config, exports, path)


def test_a_release_cut_short_is_invisible_and_the_next_one_finishes(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish.run(config, *stage(config, "b1"))
    staged = stage(config, "b2")

    def interrupt(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(versions, "write_models_config", interrupt)
        with pytest.raises(KeyboardInterrupt):
            publish.run(config, *staged)
    assert served(config) == {name: [1] for name in signatures.BUNDLE}
    version, is_new = publish.run(config, *staged)
    assert is_new
    assert served(config) == {name: [version] for name in signatures.BUNDLE}


def _full_disk(*arguments: Any, **options: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "/disk/file")


@pytest.mark.parametrize(
    ("owner", "name", "reaching"),
    [
        (repository.shutil, "copytree", ""),
        (files, "sync", ""),
        (files.os, "replace", ""),
        (catalogue.shutil, "copyfile", ""),
        (files.os, "replace", "models.config"),
    ],
    ids=["copy", "sync", "rename", "popular items", "pointer"],
)
def test_a_full_disk_takes_back_what_was_placed(
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    reaching: str,
) -> None:
    for number in (1, 2):
        publish.run(config, *_stage_catalogue(config, f"b{number}", ["50"]))
    staged = _stage_catalogue(config, "b3", ["3"])
    before = _files(config)
    original, calls = getattr(owner, name), []

    def fill(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        path = str(arguments[-1])
        # Half of the release is there by then; the gate's own file is not
        # what fails.
        if path.startswith(str(config.serving_directory)) and (
            path.endswith(reaching)
            if reaching
            else len(calls) > 5 or name == "copyfile"
        ):
            return _full_disk()
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fill)
        with pytest.raises(ServingError, match="No space left .* Version 2 is"):
            publish.run(config, *staged)
    assert _files(config) == before
    assert publish.rollback(config) == (2, 1)
    assert publish.run(config, *staged) == (3, True)


def _files(config: Config) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for path in config.serving_directory.rglob("*")
        if path.is_file()
    }


def test_what_a_killed_release_left_is_swept_by_the_next(
    config: Config,
) -> None:
    publish.run(config, *stage(config, "b1"))
    retrieval = config.serving_directory / signatures.RETRIEVAL
    shutil.copytree(retrieval / "1", retrieval / "2")
    (config.serving_directory / signatures.RANKING / ".staging-2").mkdir()
    assert publish.run(config, *stage(config, "b2")) == (2, True)
    assert (
        json.loads(
            (
                retrieval / "2" / signatures.EXTRA_ASSETS / "manifest.json"
            ).read_text()
        )["bundle_id"]
        == "b2"
    )
    assert not list(config.serving_directory.rglob(".staging-*"))


def test_a_target_that_cannot_be_written_is_one_clear_error(
    config: Config,
) -> None:
    config.serving_directory.parent.mkdir(parents=True)
    config.serving_directory.write_text("a file, not a folder")
    with pytest.raises(ServingError, match="A release must be written to"):
        publish.run(config, *stage(config, "b1"))


def test_a_release_that_lost_a_model_is_not_returned_to(
    config: Config,
) -> None:
    for number in (1, 2, 3):
        publish.run(config, *stage(config, f"b{number}"))
    shutil.rmtree(config.serving_directory / signatures.RANKING / "2")
    with pytest.raises(GateRejected, match="ranking/2.*Version 1 is whole"):
        publish.rollback(config)
    assert served(config) == {name: [3] for name in signatures.BUNDLE}
    with pytest.raises(GateRejected, match="Released before version 3: 2, 1"):
        publish.rollback(config, to=7)
    assert publish.rollback(config, to=1) == (3, 1)
    assert served(config) == {name: [1] for name in signatures.BUNDLE}


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


# What may happen to a folder besides its going as a whole.
_LOSSES = {
    "weights": lambda model: shutil.rmtree(model / "variables"),
    "half the weights": lambda model: _cut_short(model / "variables" / "data"),
    "half the graph": lambda model: _cut_short(model / "saved_model.pb"),
    "manifest": lambda model: shutil.rmtree(model / signatures.EXTRA_ASSETS),
    "half the manifest": lambda model: _cut_short(
        model / signatures.EXTRA_ASSETS / manifest.MANIFEST
    ),
}


@pytest.mark.parametrize("name", [signatures.RETRIEVAL, signatures.RANKING])
@pytest.mark.parametrize("loss", _LOSSES)
def test_a_model_that_lost_a_part_is_neither_returned_to_nor_kept(
    config: Config, name: str, loss: str
) -> None:
    for number in (1, 2):
        exports, evaluation = stage(config, f"b{number}")
        for model in signatures.BUNDLE:
            (exports / model / "variables").mkdir(exist_ok=True)
            (exports / model / "variables" / "data").write_text("weights")
        publish.run(config, exports, evaluation)
    model = config.serving_directory / name
    _LOSSES[loss](model / "1")
    with pytest.raises(GateRejected, match=f"{name}/1/.*make retrain"):
        publish.rollback(config)
    assert served(config)[name] == [2]
    # The live one, damaged likewise, is mended by publishing again.
    _LOSSES[loss](model / "2")
    assert publish.run(config, exports, evaluation) == (3, True)


@pytest.mark.parametrize("name", signatures.BUNDLE)
def test_publishing_again_mends_a_live_release_that_lost_a_model(
    config: Config, name: str
) -> None:
    staged = stage(config, "b1")
    assert publish.run(config, *staged) == (1, True)
    shutil.rmtree(config.serving_directory / name / "1")
    assert publish.run(config, *staged) == (2, True)
    assert served(config) == {model: [2] for model in signatures.BUNDLE}


@pytest.mark.parametrize("line", ["2 x", "2,1", "-1", ""])
def test_a_damaged_list_of_releases_is_named(config: Config, line: str) -> None:
    publish.run(config, *stage(config, "b1"))
    pointer = config.serving_directory / publish.POINTER
    text = pointer.read_text()
    damaged = text.replace(
        history.comment([1]), f"# releases, live first: {line}"
    )
    assert damaged != text
    pointer.write_text(damaged)
    with pytest.raises(ServingError, match="versions with blanks between"):
        publish.rollback(config)
    # What the message advises works, and nothing live is overwritten.
    pointer.write_text(text.split("\n", 1)[1])
    assert publish.run(config, *stage(config, "b2")) == (2, True)
    assert publish.rollback(config) == (2, 1)


def test_the_previous_version_stays_loaded_by_option(config: Config) -> None:
    config = replace(config, publish=PublishConfig(keep_previous_loaded=True))
    for number, loaded in ((1, [1]), (2, [1, 2]), (3, [2, 3])):
        publish.run(config, *stage(config, f"b{number}"))
        assert served(config) == {name: loaded for name in signatures.BUNDLE}
    publish.rollback(config)
    # Version 3, the highest, must not be what servers call the latest.
    assert served(config) == {name: [1, 2] for name in signatures.BUNDLE}


def test_pruning_keeps_the_live_and_the_previous_version(
    config: Config,
) -> None:
    config = replace(config, publish=PublishConfig(keep_versions=2))
    for number in (1, 2, 3):
        publish.run(config, *stage(config, f"b{number}"))
    for name in signatures.BUNDLE:
        assert versions.list_versions(config.serving_directory / name) == [2, 3]
    assert publish.rollback(config) == (3, 2)
    with pytest.raises(GateRejected):
        publish.rollback(config)


def _stage_catalogue(
    config: Config, bundle_id: str, popular: list[str]
) -> tuple[Path, Path]:
    staged = stage(config, bundle_id)
    extra = staged[0] / signatures.RETRIEVAL / signatures.EXTRA_ASSETS
    manifest.write_json(extra / catalogue.POPULAR, popular)
    (extra / catalogue.TITLES).write_text("50\tStar Wars\n")
    return staged


def test_popular_items_and_titles_go_forth_and_back_with_a_release(
    config: Config,
) -> None:
    serving = config.serving_directory
    assert catalogue.read_popular(serving) == []
    publish.run(config, *_stage_catalogue(config, "b1", ["50", "1"]))
    assert catalogue.read_popular(serving) == ["50", "1"]
    publish.run(config, *_stage_catalogue(config, "b2", ["2"]))
    # What the client reads, and how it reads it.
    assert fallback.read(serving / "popular.json") == ("2",)
    assert tables.read_titles(str(serving / "titles.tsv")) == {
        "50": "Star Wars"
    }
    publish.rollback(config)
    assert fallback.read(serving / "popular.json") == ("50", "1")


def test_popular_items_are_counted_before_the_test_part(
    tmp_path: Path,
) -> None:
    prepared = SimpleNamespace(
        items=SimpleNamespace(
            ids=np.array(["", "", "a", "b", "c", "d", "gone"]),
            counts=np.array(
                [
                    [9, 9, 3, 1, 0, 2, 7],  # train
                    [9, 9, 0, 4, 0, 0, 7],  # validation
                    [9, 9, 9, 9, 9, 9, 9],  # test
                ]
            ),
            titles=np.array(["", "", "An\tA ", "B", "", "D", ""]),
        ),
        gone=np.array([6]),
    )
    catalogue.write(prepared, tmp_path)  # type: ignore[arg-type]
    assert fallback.read(tmp_path / "popular.json") == ("b", "a", "d")
    assert tables.read_titles(str(tmp_path / "titles.tsv")) == {
        "a": "An A",
        "b": "B",
        "d": "D",
    }
