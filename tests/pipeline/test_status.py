"""What would run, and why, without running it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from models.config import RetrievalConfig
from pipeline import needs, status
from pipeline.export import bundle
from pipeline.run import manifest
from pipeline.run.config import Config
from pipeline.run.data import TabularSource
from pipeline.run.release import EvaluateConfig


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Of a run whose steps are all up to date, as far as manifests say."""
    log = tmp_path / "orders.csv"
    log.write_text("user_id,item_id\nu,i\n")
    config = Config(
        name="test",
        seed=1,
        artifacts=str(tmp_path / "artifacts"),
        source=TabularSource(path=str(log)),
    )
    _make(config, *needs.AFTER)
    return config


def _make(config: Config, *names: str) -> None:
    for name in names:
        with manifest.stage(
            config.run_directory / name, needs.inputs(config, name)
        ):
            pass


def _why(config: Config) -> dict[str, tuple[str, ...]]:
    return {step.name: step.why for step in status.steps(config) if step.why}


def test_nothing_would_run_where_nothing_changed(config: Config) -> None:
    assert not _why(config)
    text, data = status.answer(config)
    assert "nothing would run" in text and text.count("up to date") == len(
        needs.AFTER
    )
    first = json.loads(json.dumps(data))["steps"][0]
    assert first["name"] == "prepare" and first["peak_bytes"] > 2**20


def test_an_option_is_named_with_what_it_was(config: Config) -> None:
    options = replace(config.retrieval, epochs=99)
    found = _why(replace(config, retrieval=options))
    was = RetrievalConfig().epochs
    assert found["train-retrieval"] == (f"retrieval.epochs is 99, was {was}",)
    assert "prepare" not in found
    assert found["index"] == ("train-retrieval would run",)
    assert len(found["export"]) == 3
    changed = replace(config, evaluate=EvaluateConfig(num_users=7))
    assert _why(changed) == {
        "evaluate": ("evaluate.num_users is 7, was 'all'",)
    }


def test_a_source_that_changed_or_went_is_named(config: Config) -> None:
    assert isinstance(config.source, TabularSource)
    log = Path(config.source.path)
    log.write_text("user_id,item_id\nu,other\n")
    assert _why(config)["prepare"] == (f"{log} is another",)
    log.unlink()
    assert _why(config)["prepare"] == (f"{log} is missing",)


def _another_version(name: str, known: Callable[[str], str]) -> str:
    return "99" if name == "scann" else known(name)


def test_code_and_libraries_are_named(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = manifest.metadata.version
    monkeypatch.setattr(
        manifest.metadata, "version", lambda name: _another_version(name, known)
    )
    assert f"scann is '99', was '{known('scann')}'" in _why(config)["index"]
    reached = manifest._reached("pipeline.ranking.train")
    edited = {**reached[0], "models.ranking": "edited"}
    monkeypatch.setattr(
        manifest,
        "_reached",
        lambda module, real=manifest._reached: (
            (edited, reached[1])
            if module == "pipeline.ranking.train"
            else real(module)
        ),
    )
    assert _why(config)["train-ranking"] == (
        "code changed: models.ranking",
        "index would run",
    )


def test_a_step_made_again_or_gone_reruns_what_follows(config: Config) -> None:
    _make(config, "train-ranking")
    found = _why(config)
    assert found["distill"] == ("train-ranking was made again",)
    (config.run_directory / "index" / manifest.MANIFEST).unlink()
    assert _why(config)["index"] == ("it was not made yet",)


def test_another_live_version_is_compared_with(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = {"bundle_id": "b7"}
    monkeypatch.setattr(bundle, "live_manifest", lambda serving: live)
    why = ("another version is live than it was compared with",)
    found = _why(config)
    assert found["check-data"] == found["evaluate"] == why
    assert "train-retrieval" not in found
