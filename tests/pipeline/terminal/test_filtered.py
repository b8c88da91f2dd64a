"""Filters of a command line, read against a catalogue."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.tables import prepared as tables
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import DataError
from pipeline.terminal import filtered
from serving.errors import InvalidRequest
from tests.support.prepared_stub import make_prepared


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    table = pa.table(
        {
            "genres": [["Drama", "Sci, Fi"], None, ["Comedy", ""]],
            "country": ["fr", "us", None],
            "price": [1.0, 2.0, 3.0],
        }
    )
    kinds = {
        "genres": "multi_categorical",
        "country": "categorical",
        "price": "numeric",
    }
    tables.write_item_values(tmp_path, table, kinds)
    return replace(make_prepared([[2, 3, 4]], 3), directory=tmp_path)


def test_filters_are_values_by_feature(prepared: Prepared) -> None:
    texts = ['genres=Drama, "Sci, Fi"', "country=fr", "country=us"]
    assert filtered.read(prepared, texts) == {
        "genres": ["Drama", "Sci, Fi"],
        "country": ["fr", "us"],
    }
    assert filtered.read(prepared, []) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("genres=Dramma", "value of genres .*'Dramma'.*mean 'Drama'"),
        ("genre=Drama", "feature .*'genre' .*mean 'genres'"),
        ("price=1.0", "must name a feature that items have: 'country', 'gen"),
        ("genres", "must be FEATURE=VALUES. Received: 'genres'"),
        ("genres=", "must be FEATURE=VALUES. Received: 'genres='"),
    ],
)
def test_what_no_item_has_is_named_with_the_nearest(
    prepared: Prepared, text: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        filtered.read(prepared, [text])


def test_a_quote_must_be_closed(prepared: Prepared) -> None:
    with pytest.raises(InvalidRequest, match="--filter must be ids"):
        filtered.read(prepared, ['genres="Drama'])
