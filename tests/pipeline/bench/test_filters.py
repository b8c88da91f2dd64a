"""What filters cost and find, measured on a small catalogue."""

import json

import pytest

from pipeline.bench import filters


@pytest.mark.slow
def test_every_share_of_the_items_has_its_recall_and_time(tmp_path):
    path = tmp_path / "bench" / "filter.json"
    rows = filters.run(2_000, path)
    assert [row["selectivity"] for row in rows] == list(filters.SHARES)
    assert all(row["recall"] >= 0.9 for row in rows)
    assert all(row["times_unfiltered"] > 0.0 for row in rows)
    kept = json.loads(path.read_text())
    assert kept["filter"] == rows and kept["items"] == 2_000
    # The index it was built with is gone.
    assert [file.name for file in path.parent.iterdir()] == [path.name]
