"""Data sets of repeat consumption: what was taken before may be answered."""

from pathlib import Path

import pytest
from data_cases import prepared, write_csv

from pipeline.schema import SourceConfig


@pytest.mark.parametrize(
    ("repeated", "ratings"),
    [("keep", [4, 3, 2, 5]), ("first", [4, 3, 1, 5]), ("last", [4, 3, 2, 5])],
)
def test_only_rows_of_one_moment_are_repeats(
    tmp_path: Path, repeated: str, ratings: list[int]
) -> None:
    log = write_csv(
        tmp_path / "log.csv",
        "user_id,item_id,timestamp,rating",
        "u,a,1,4", "u,b,2,3", "u,a,3,1", "u,a,3,2", "u,a,4,5",
    )  # fmt: skip
    source = SourceConfig(kind="tabular", path=log, rating="rating")
    found = prepared(
        tmp_path / "out", source, repeat_consumption=True, repeated=repeated
    )
    assert found.repeat_consumption
    assert found.sequences().timestamps.tolist() == [1, 2, 3, 4]
    assert found.sequences().ratings.tolist() == ratings
    assert not prepared(tmp_path / "plain", source).repeat_consumption
