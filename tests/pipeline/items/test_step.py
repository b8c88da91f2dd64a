"""The live version gets other items: what is released, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from models.config import FIRST_ITEM
from pipeline import status
from pipeline.export import bundle
from pipeline.items.step import Outcome, Update
from pipeline.release import decision, kept, publish, servable
from pipeline.release.gate import GateRejected
from pipeline.run.config import Config
from pipeline.steps import Run
from pipeline.tables import prepared
from pipeline.tables.schema import DataError, DataRefused
from serving import signatures
from serving.ondevice import bundle as ondevice
from serving.releases import history, ledger
from serving.releases.history import State
from tests.support import catalogues
from tests.support.exported import inputs_of

GONE = (3, 40, 77)
NEW = [f"new{number}" for number in range(12)]


def _changed(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """A catalogue of which three items are gone, twelve new, one other."""
    listed = [dict(row) for place, row in enumerate(rows) if place not in GONE]
    listed[0]["genres"] = "Western|Opera"
    new = [
        {**rows[place], "item_id": id_, "title": f"New {place}"}
        for place, id_ in enumerate(NEW)
    ]
    new[0]["genres"] = "Opera"
    return [*listed, *new]


@pytest.fixture(scope="module")
def before(
    tiny_run: Run, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Config, list[dict[str, str]]]:
    """The run's config, live as version 1, and its catalogue."""
    directory = tmp_path_factory.mktemp("live")
    config = catalogues.publish_as_is(tiny_run, directory / "artifacts")
    return config, catalogues.rows_of(tiny_run.prepared())


@pytest.fixture(scope="module")
def after(
    before: tuple[Config, list[dict[str, str]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Config, Outcome, list[dict[str, str]]]:
    """Three items are gone, twelve are new, one changed: version 2 is live."""
    config, rows = before
    directory = tmp_path_factory.mktemp("changed")
    changed = replace(config, artifacts=str(directory / "artifacts"))
    shutil.copytree(config.artifacts, changed.artifacts)
    path = catalogues.write(directory / "items.csv", _changed(rows))
    with pytest.MonkeyPatch.context() as patched:
        # Tried with servers in the tests of releases.
        patched.setattr(servable, "tried", lambda *_: [])
        found = Update(changed).run(path)
    return changed, found, rows


@pytest.fixture(scope="module")
def loaded(
    after: tuple[Config, Outcome, list[dict[str, str]]],
) -> dict[str, Any]:
    serving = after[0].serving_directory
    return {
        name: tf.saved_model.load(str(serving / name / "2"))
        for name in signatures.BUNDLE
    }


def _state(config: Config) -> State:
    return history.state(config.serving_directory)


def test_all_models_are_released_in_one_go(
    after: tuple[Config, Outcome, list[dict[str, str]]],
) -> None:
    config, found, rows = after
    serving = config.serving_directory
    assert (found.version, found.is_new) == (2, True)
    assert found.changes.added == NEW
    assert found.changes.gone == [rows[place]["item_id"] for place in GONE]
    assert found.changes.changed == [rows[0]["item_id"]]
    assert _state(config) == State((2, 1))
    facts = [
        bundle.read_manifest(serving / name / "2") for name in signatures.BUNDLE
    ]
    assert len({(f["bundle_id"], f["version"]) for f in facts}) == 1
    assert facts[0]["num_items"] == len(rows) + 12 - 3
    entries, _problems = ledger.read(serving)
    assert (entries[-1].event, entries[-1].version) == ("live", 2)
    assert entries[-1].why == "items: +12 -3, 1 changed"
    judged = decision.read(config.run_directory / "items")
    assert judged["accepted"] and judged["live"] == 1
    assert not history.missing(serving, 2)
    # Who asks for titles finds the items that came.
    tables = kept.live_tables(config)
    assert tables and set(NEW) <= set(prepared.load(tables).items.ids)
    assert kept.live_tables(replace(config, name="another")) is None


def test_new_items_are_answered_and_gone_ones_are_not(
    after: tuple[Config, Outcome, list[dict[str, str]]], loaded: dict[str, Any]
) -> None:
    _config, _found, rows = after
    gone = {rows[place]["item_id"].encode() for place in GONE}
    known = [row["item_id"].encode() for row in rows]
    # Excluding every known item leaves nothing but new ones.
    ask = loaded["recommender"].signatures["serving_default"]
    one = inputs_of([[known[0]]], excluded_ids=[known])
    answered = {id_ for id_ in ask(**one)["item_ids"].numpy()[0] if id_}
    assert answered == {id_.encode() for id_ in NEW}
    for name in ("retrieval", "retrieval_exact"):
        ask = loaded[name].signatures["with_exclusions"]
        few = known[:60]
        found = ask(**inputs_of([[known[5]]], excluded_ids=[few]))
        answered = set(found["candidate_ids"].numpy()[0])
        assert len(answered) == 30
        assert not answered & gone
    # What is gone may still be in a history, and changes the answer.
    ask = loaded["retrieval"].signatures["serving_default"]
    with_it, without = (
        ask(**inputs_of([[known[5], past]]))["scores"].numpy()
        for past in (min(gone), b"nobody knows this")
    )
    assert not np.allclose(with_it, without)


def test_ranking_scores_new_items(loaded: dict[str, Any]) -> None:
    score = loaded["ranking"].signatures["score"]
    ids = [NEW[1].encode(), NEW[2].encode(), b"no item"]
    found = score(**inputs_of([[b"i00001"]], candidate_ids=[ids]))
    scores = found["scores"].numpy()[0]
    assert np.isfinite(scores).all() and len(set(scores.tolist())) == 3


def test_filters_know_what_new_items_have(
    after: tuple[Config, Outcome, list[dict[str, str]]], loaded: dict[str, Any]
) -> None:
    _config, _found, rows = after
    ask = loaded["retrieval"].signatures["with_options"]
    empty = np.zeros((1, 0), object)
    found = ask(
        **inputs_of(
            [[rows[8]["item_id"].encode()]],
            excluded_ids=empty,
            allowed_genres=[[b"Opera"]],
        )
    )
    answered = {id_.decode() for id_ in found["candidate_ids"].numpy()[0]}
    # A value that training never saw; of one known item by now, and a new one.
    assert answered - {""} == {rows[0]["item_id"], NEW[0]}


def test_a_changed_feature_is_embedded_again(
    after: tuple[Config, Outcome, list[dict[str, str]]],
) -> None:
    config = after[0]
    old, new = (
        np.load(config.run_directory / folder / "embeddings.npy")
        for folder in ("index", "items/index")
    )
    # How a matrix product rounds depends on what else is in it.
    same = np.isclose(old, new[: len(old)], rtol=1e-5, atol=1e-6).all(axis=1)
    assert np.flatnonzero(~same).tolist() == [FIRST_ITEM]


def test_the_device_has_the_version_and_leaves_out_what_is_gone(
    after: tuple[Config, Outcome, list[dict[str, str]]],
) -> None:
    config, _found, rows = after
    one, two = (
        ondevice.OnDevice(config.serving_directory / "ondevice" / version)
        for version in "12"
    )
    assert two.config["version"] == 2
    assert two.config["bundle_id"] == one.config["bundle_id"]
    gone = {rows[place]["item_id"] for place in GONE}
    assert gone == set(two.config[ondevice.GONE])
    histories = [[row["item_id"]] for row in rows[:40]]
    answered = [
        {item for history in histories for item, _ in model.recommend(history)}
        for model in (one, two)
    ]
    assert answered[0] & gone
    assert answered[1] == answered[0] - gone


def test_a_retraining_finds_its_bundle_live_and_status_tells(
    after: tuple[Config, Outcome, list[dict[str, str]]],
) -> None:
    config = after[0]
    told = status.answer(config)
    assert "+12 -3, 1 changed" in told.text
    # Nothing of the data changed: no step runs, nothing is published.
    assert "another version is live" not in told.text
    run = Run(config)
    made = run.evaluate().stat().st_mtime_ns
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(servable, "tried", lambda *_: [])
        patched.setattr("pipeline.release.gate.quality", lambda *_: [])
        assert Run(config).publish() == 2
    assert run.evaluate().stat().st_mtime_ns == made
    assert _state(config) == State((2, 1))


def test_the_same_file_again_publishes_nothing(
    after: tuple[Config, Outcome, list[dict[str, str]]], tmp_path: Path
) -> None:
    config, _found, rows = after
    # In another form and order.
    table = pa.Table.from_pylist(_changed(rows)[::-1])
    pq.write_table(table, tmp_path / "items.parquet")
    again = Update(config).run(str(tmp_path / "items.parquet"))
    assert not again.changes and (again.version, again.is_new) == (2, False)


@pytest.fixture
def refused(
    before: tuple[Config, list[dict[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Config, list[dict[str, str]]]:
    """As `before`, and no work may start."""

    def fail(*_: object) -> None:
        pytest.fail("work started")

    monkeypatch.setattr(Update, "_make", fail)
    return before


def test_a_file_of_which_nothing_changed_publishes_nothing(
    refused: tuple[Config, list[dict[str, str]]], tmp_path: Path
) -> None:
    config, rows = refused
    found = Update(config).run(catalogues.write(tmp_path / "i.csv", rows))
    assert not found.changes and not found.is_new
    assert _state(config) == State((1,))


def test_bad_files_are_refused_before_work_starts(
    refused: tuple[Config, list[dict[str, str]]], tmp_path: Path
) -> None:
    config, rows = refused
    path = tmp_path / "items.csv"

    def refuse(match: str, kind: type[DataError] = DataError) -> None:
        with pytest.raises(kind, match=match):
            Update(config).run(str(path))

    refuse("must be a file or a folder that exists.*from ITEMS")
    path.write_text("item_id,title,genres,year\n")
    refuse("must have rows|is empty|no rows")
    catalogues.write(path, [*rows, rows[7]])
    refuse("`item_id` was there before")
    less = [{k: v for k, v in row.items() if k != "genres"} for row in rows]
    catalogues.write(path, less)
    refuse("Every mapped column must be in the items.*genres")
    catalogues.write(path, [{**r, "item_id": f"x{r['item_id']}"} for r in rows])
    refuse("0 of the 120 items of version 1 among the 120.*another run")
    catalogues.write(path, rows[:60])
    refuse("60 of the 120 items.*ACCEPT_DATA", DataRefused)
    path = tmp_path / "items.parquet"
    path.write_bytes(b"PAR1 cut short")
    refuse("items.parquet")


def test_missing_and_unknown_features_are_told(
    before: tuple[Config, list[dict[str, str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, rows = before
    new = [
        {**rows[0], "item_id": "a", "genres": ""},
        {**rows[0], "item_id": "b", "genres": "Opera"},
    ]
    said: list[str] = []

    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    monkeypatch.setattr(Update, "_make", stop)
    with pytest.raises(Stop):
        Update(config, progress=said.append).run(
            catalogues.write(tmp_path / "i.csv", [*rows, *new])
        )
    text = "\n".join(said)
    assert "`genres`: 1 of 2 new items have none\n" in text
    assert "`genres`: 1 of 2 new items have none that training knew" in text


def test_something_of_the_run_must_be_live(
    refused: tuple[Config, list[dict[str, str]]], tmp_path: Path
) -> None:
    config, rows = refused
    path = catalogues.write(tmp_path / "i.csv", rows)
    empty = replace(config, artifacts=str(tmp_path / "none"))
    with pytest.raises(DataError, match="must be live.*make retrain"):
        Update(empty).run(path)
    other = replace(config, name="other")
    with pytest.raises(DataError, match="of run 'tiny', the config names"):
        Update(other).run(path)
    wider = replace(config.retrieval, embedding_dim=32)
    with pytest.raises(DataError, match=r"others in retrieval\.embedding_dim"):
        Update(replace(config, retrieval=wider)).run(path)


def test_a_trial_is_not_disturbed(
    refused: tuple[Config, list[dict[str, str]]], tmp_path: Path
) -> None:
    config, rows = refused
    on_trial = State((1,), canary=2, share=5)
    with pytest.raises(GateRejected, match="End the trial first"):
        publish.require_live(config.serving_directory, on_trial, 1)
    with pytest.raises(GateRejected, match="version 3, was 1"):
        publish.require_live(config.serving_directory, State((3, 1)), 1)


def test_what_is_killed_changes_nothing_and_goes_on(
    before: tuple[Config, list[dict[str, str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = replace(before[0], artifacts=str(tmp_path / "artifacts"))
    shutil.copytree(before[0].artifacts, config.artifacts)
    pointer = config.serving_directory / history.POINTER
    live = pointer.read_text()
    path = catalogues.write(tmp_path / "i.csv", before[1][1:])

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    monkeypatch.setattr("pipeline.export.step.run", die)
    said: list[str] = []
    for _ in range(2):
        with pytest.raises(Killed):
            Update(config, progress=said.append).run(path)
        assert pointer.read_text() == live
    assert "items, index: running" in said
    assert said[-2:] == [
        "items, index: up to date, skipped",
        "items, export: running",
    ]
    assert not json.dumps(said).count("evaluate")
