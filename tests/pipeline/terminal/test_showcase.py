"""What `make recommend` shows, and what it refuses to show."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.export import bundle
from pipeline.run import manifest
from pipeline.tables.prepared import Prepared
from pipeline.terminal import showcase
from serving import signatures
from serving.errors import ServingError
from serving.releases import history, versions
from tests.support.fake_server import CATALOGUE, FakeServer
from tests.support.prepared_stub import make_prepared, make_table

NOWHERE = "127.0.0.1:1"


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(["retrieval", "ranking", "recommender"]) as found:
        yield found


def _prepared(num_items: int = len(CATALOGUE)) -> Prepared:
    items = make_table("i", num_items, num_items)
    titles = np.array(["", "", *(f"Title {n}" for n in range(num_items))])
    return make_prepared(
        [[2, 3, 4]], num_items, items=replace(items, titles=titles)
    )


def _publish(serving: Path, run: str) -> None:
    for name in signatures.BUNDLE:
        extra = serving / name / "1" / signatures.EXTRA_ASSETS
        extra.mkdir(parents=True)
        (serving / name / "1" / "saved_model.pb").write_text("")
        manifest.write_json(
            extra / manifest.MANIFEST, {"bundle_id": "b", "run": run}
        )
    manifest.write_json(serving / "popular.json", ["i3", "i4"])
    versions.write_models_config(
        serving / history.POINTER,
        {name: (str(serving / name), [1]) for name in signatures.BUNDLE},
        comment=history.comment([1]),
    )


def test_an_answer_is_shown_with_titles_and_scores(server: FakeServer) -> None:
    shown, data = showcase.recommend(
        _prepared(), server.target, "", ["i1", "i2"], showcase.Live()
    )
    assert data["history"] == ["Title 2", "Title 1"]
    assert data["retrieval"][0] == {
        "item_id": "i19",
        "title": "Title 19",
        "score": 19.0,
    }
    assert "Title 19" in shown and "19.00" in shown
    assert "Title 2" in shown.splitlines()[4]


def test_a_short_answer_is_a_short_table(server: FakeServer) -> None:
    shown, _data = showcase.recommend(
        _prepared(), server.target, "", CATALOGUE[3:], showcase.Live()
    )
    assert [f"Title {n} " in shown for n in range(3)] == [True] * 3


def test_a_server_of_another_catalogue_is_refused_and_named(
    server: FakeServer, tmp_path: Path
) -> None:
    _publish(tmp_path, "first")
    live = showcase.Live.read(tmp_path, "second")
    with pytest.raises(ServingError, match="'i19', which is not.*run 'first'"):
        showcase.recommend(_prepared(5), server.target, "", [], live)


def test_titles_of_another_run_with_the_same_ids_are_marked(
    server: FakeServer, tmp_path: Path
) -> None:
    _publish(tmp_path, "first")
    live = showcase.Live.read(tmp_path, "second")
    shown, _ = showcase.recommend(_prepared(), server.target, "", ["i1"], live)
    assert "published here is run 'first'" in shown
    live = showcase.Live.read(tmp_path, "first")
    shown, _ = showcase.recommend(_prepared(), server.target, "", ["i1"], live)
    assert "first" not in shown


def test_without_a_server_only_the_same_runs_popular_items_are_offered(
    tmp_path: Path,
) -> None:
    _publish(tmp_path, "first")
    own = showcase.Live.read(tmp_path, "first")
    shown, data = showcase.recommend(_prepared(), NOWHERE, "", ["i1"], own)
    assert data["items"] == ["i3", "i4"]
    assert "degraded" in shown and "Title 3" in shown
    other = showcase.Live.read(tmp_path, "second")
    with pytest.raises(ServingError, match="run 'first'"):
        showcase.recommend(_prepared(), NOWHERE, "", ["i1"], other)


def test_a_live_release_that_lost_its_files_is_none(tmp_path: Path) -> None:
    _publish(tmp_path, "first")
    assert bundle.live_bundle(tmp_path) == "b"
    (tmp_path / signatures.RANKING / "1" / "saved_model.pb").unlink()
    assert bundle.live_bundle(tmp_path) is None
    assert showcase.Live.read(tmp_path, "first") == showcase.Live()
