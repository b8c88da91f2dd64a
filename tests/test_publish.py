"""The gate, releases that are complete or absent, and the way back."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline import catalogue, manifest, publish
from pipeline.config import Config, PublishConfig
from pipeline.publish import GateRejected
from serving import signatures, versions
from serving.client import fallback, tables


def _evaluation(bundle_id: str = "b1", **rows: float) -> dict[str, Any]:
    rows = {
        "two_stage": 0.2,
        "popularity": 0.1,
        "recent_popularity": 0.1,
    } | rows
    return {
        "bundle_id": bundle_id,
        "rows": [
            {"model": model, "slice": "all", "ndcg@10": value}
            for model, value in rows.items()
        ]
        + [{"model": "two_stage", "slice": "cold", "ndcg@10": 0.0}],
        "differences": [],
    }


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(name="test", seed=1, artifacts=str(tmp_path / "artifacts"))


def _stage(config: Config, bundle_id: str) -> tuple[Path, Path]:
    """A bundle that is enough for publishing, and its evaluation."""
    exports = config.run_directory / "export"
    for name in signatures.BUNDLE:
        extra = exports / name / signatures.EXTRA_ASSETS
        extra.mkdir(parents=True, exist_ok=True)
        (exports / name / "saved_model.pb").write_text(bundle_id + name)
        manifest.write_json(
            extra / manifest.MANIFEST, {"bundle_id": bundle_id, "model": name}
        )
    path = config.run_directory / "evaluation.json"
    path.write_text(json.dumps(_evaluation(bundle_id)))
    return exports, path


def _live(config: Config) -> dict[str, list[int]]:
    pointer = config.serving_directory / publish.POINTER
    return {
        name: numbers
        for name, (_, numbers) in versions.read_models_config(pointer).items()
    }


def test_the_gate_accepts_what_beats_the_baselines() -> None:
    assert publish.gate(_evaluation(), PublishConfig()) == []


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ({"popularity": 0.3}, "must exceed popularity in ndcg@10: 0.2000 is"),
        ({"recent_popularity": 0.2}, "0.2000 is not above 0.2000"),
        ({"two_stage": float("nan")}, "must exceed popularity"),
    ],
)
def test_the_gate_names_what_it_rejects(
    rows: dict[str, float], reason: str
) -> None:
    reasons = publish.gate(_evaluation(**rows), PublishConfig())
    assert any(reason in line for line in reasons)


def test_the_gate_compares_with_the_live_version_beyond_noise() -> None:
    evaluation = _evaluation()
    difference = {
        "model": "two_stage",
        "against": "live",
        "metric": "ndcg@10",
        "difference": -0.02,
        "low": -0.03,
        "high": 0.001,
    }
    evaluation["differences"] = [difference]
    assert publish.gate(evaluation, PublishConfig()) == []
    difference["high"] = -0.001
    (reason,) = publish.gate(evaluation, PublishConfig())
    assert "worse than the live version beyond noise" in reason


def test_the_gate_refuses_a_metric_or_row_that_was_not_measured() -> None:
    (reason,) = publish.gate(_evaluation(), PublishConfig(metric="recall@7"))
    assert "must be a column of the evaluation" in reason
    (reason,) = publish.gate(_evaluation(), PublishConfig(must_beat=("ease",)))
    assert "'ease', which was not evaluated" in reason


def test_versions_count_up_and_rollback_moves_the_pointer_alone(
    config: Config,
) -> None:
    for number in (1, 2, 3):
        assert publish.run(config, *_stage(config, f"b{number}")) == (
            number,
            True,
        )
    assert _live(config) == {name: [3] for name in signatures.BUNDLE}
    before = {
        path: path.read_bytes()
        for path in config.serving_directory.rglob("*")
        if path.is_file() and path.name != publish.POINTER
    }
    assert publish.rollback(config) == (3, 2)
    assert _live(config) == {name: [2] for name in signatures.BUNDLE}
    # The version rolled back from is not what a later rollback returns to.
    assert publish.run(config, *_stage(config, "b4")) == (4, True)
    assert publish.rollback(config) == (4, 2)
    assert publish.rollback(config) == (2, 1)
    with pytest.raises(GateRejected, match="needs an earlier release"):
        publish.rollback(config)
    assert all(path.read_bytes() == data for path, data in before.items())


def test_a_live_bundle_is_not_published_twice(config: Config) -> None:
    assert publish.run(config, *_stage(config, "b1")) == (1, True)
    assert publish.run(config, *_stage(config, "b1")) == (1, False)


def test_every_model_of_a_release_tells_version_and_bundle(
    config: Config,
) -> None:
    publish.run(config, *_stage(config, "b1"))
    for name in signatures.BUNDLE:
        directory = config.serving_directory / name / "1"
        facts = json.loads(
            (
                directory / signatures.EXTRA_ASSETS / manifest.MANIFEST
            ).read_text()
        )
        assert (facts["version"], facts["bundle_id"]) == (1, "b1")


def test_a_rejected_bundle_changes_nothing_but_writes_the_reasons(
    config: Config,
) -> None:
    publish.run(config, *_stage(config, "b1"))
    exports, path = _stage(config, "b2")
    path.write_text(json.dumps(_evaluation("b2", popularity=0.9)))
    with pytest.raises(GateRejected):
        publish.run(config, exports, path)
    assert _live(config) == {name: [1] for name in signatures.BUNDLE}
    gate = json.loads((path.parent / publish.GATE).read_text())
    assert gate["accepted"] is False
    assert "popularity" in gate["reasons"][0]


def test_an_evaluation_of_another_bundle_is_refused(config: Config) -> None:
    exports, path = _stage(config, "b2")
    path.write_text(json.dumps(_evaluation("b1")))
    with pytest.raises(GateRejected, match="must be of the staged bundle"):
        publish.run(config, exports, path)


def test_a_release_cut_short_is_invisible_and_the_next_one_finishes(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish.run(config, *_stage(config, "b1"))
    staged = _stage(config, "b2")

    def interrupt(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(versions, "write_models_config", interrupt)
        with pytest.raises(KeyboardInterrupt):
            publish.run(config, *staged)
    assert _live(config) == {name: [1] for name in signatures.BUNDLE}
    version, is_new = publish.run(config, *staged)
    assert is_new
    assert _live(config) == {name: [version] for name in signatures.BUNDLE}


def test_pruning_keeps_the_live_and_the_previous_version(
    config: Config,
) -> None:
    config = replace(config, publish=PublishConfig(keep_versions=2))
    for number in (1, 2, 3):
        publish.run(config, *_stage(config, f"b{number}"))
    for name in signatures.BUNDLE:
        assert versions.list_versions(config.serving_directory / name) == [2, 3]
    assert publish.rollback(config) == (3, 2)
    with pytest.raises(GateRejected):
        publish.rollback(config)


def _stage_catalogue(
    config: Config, bundle_id: str, popular: list[str]
) -> tuple[Path, Path]:
    staged = _stage(config, bundle_id)
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
            ids=np.array(["", "", "a", "b", "c", "d"]),
            counts=np.array(
                [
                    [9, 9, 3, 1, 0, 2],  # train
                    [9, 9, 0, 4, 0, 0],  # validation
                    [9, 9, 9, 9, 9, 9],  # test
                ]
            ),
            titles=np.array(["", "", "An\tA ", "B", "", "D"]),
        )
    )
    catalogue.write(prepared, tmp_path)  # type: ignore[arg-type]
    assert fallback.read(tmp_path / "popular.json") == ("b", "a", "d")
    assert tables.read_titles(str(tmp_path / "titles.tsv")) == {
        "a": "An A",
        "b": "B",
        "d": "D",
    }
