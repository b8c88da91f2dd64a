"""What was taken of what was shown: planted rates are found again."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.feedback import outcomes, step
from pipeline.feedback.log import Log
from pipeline.run.config import Config
from pipeline.run.data import SyntheticSource
from pipeline.tables.schema import DataError
from serving.prediction_log.user_ids import UserIds
from tests.support.request_logs import PredictionLog, logged, response, write

HOUR = 3600
# CTR by place, and what the canary adds.
RATES = np.array([0.3, 0.2, 0.1, 0.05])
Rows = list[tuple[str, str, int]]


def shown(
    directory: Path, records: list[PredictionLog], rows: Rows
) -> tuple[Log, Path]:
    """A log and canonical interactions."""
    write(directory / "log.tfrecord", records)
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    table = pa.table(
        {
            "user_id": pa.array(columns[0], pa.string()),
            "item_id": pa.array(columns[1], pa.string()),
            "timestamp": pa.array(columns[2], pa.int64()),
        }
    )
    path = directory / "interactions.parquet"
    pq.write_table(table, path)
    return Log(str(directory / "log.tfrecord")), path


def simulated(effect: float) -> tuple[list[PredictionLog], Rows]:
    """3,000 users, a third of whom ask the canary; each asks twice."""
    random = np.random.default_rng(4)
    records, rows = [], []
    for number in range(3_000):
        user = f"u{number}"
        is_tried = number % 3 == 0
        for turn in range(2):
            start = 10_000_000 + 10 * HOUR * turn
            items = [f"i{turn}{place}" for place in range(len(RATES))]
            records.append(
                logged(
                    user,
                    response([items]),
                    start,
                    version=2 if is_tried else 1,
                    label="canary" if is_tried else "stable",
                )
            )
            taken = random.random(len(RATES)) < RATES + effect * is_tried
            rows += [
                (user, item, start + int(random.integers(1, HOUR)))
                for item, is_taken in zip(items, taken, strict=True)
                if is_taken
            ]
            # What they find elsewhere is nobody's merit.
            rows.append((user, "elsewhere", start + 60))
    return records, rows


@pytest.mark.parametrize("effect", [0.0, 0.05])
def test_planted_rates_are_found(tmp_path: Path, effect: float) -> None:
    found = outcomes.run(*shown(tmp_path, *simulated(effect)))
    for place, rate in enumerate(RATES):
        one = found.positions[place]
        assert one.trials == 6_000
        assert one.low < rate + effect / 3 < one.high
        assert one.high - one.low < 0.03
    stable = found.labels["stable"]
    assert stable == found.versions["1"]
    assert stable.ctr.low < RATES.mean() < stable.ctr.high
    any_taken = 1 - np.prod(1 - RATES)
    assert stable.hit_rate.low < any_taken < stable.hit_rate.high
    assert found.versions["2"].ctr.trials == 1_000 * 2 * 4
    gap = found.canary["ctr"]
    assert gap.low < effect < gap.high
    said = "\n".join(outcomes.lines(found))
    if effect:
        assert gap.low > 0
        assert "ctr" in said
        assert "canary is better" in said
    else:
        assert "the same within noise" in said


def test_an_interaction_counts_once_for_the_last_list_before_it(
    tmp_path: Path,
) -> None:
    answer = response([["a", "b", ""]])
    records = [
        logged("u", answer, 1_000),
        logged("u", answer, 2_000),
        logged("v", answer, 1_000),
    ]
    rows = [
        ("u", "a", 999),  # Before anything was shown.
        ("u", "a", 2_000),  # Of the second list, twice.
        ("u", "a", 2_500),
        ("v", "b", 1_000 + HOUR),  # At the end of the window.
        ("v", "a", 1_001 + HOUR),  # Behind it.
        ("w", "a", 1_500),  # Was shown nothing.
    ]
    found = outcomes.run(*shown(tmp_path, records, rows), hours=1)
    assert [(one.count, one.trials) for one in found.positions] == [
        (1, 3),
        (1, 3),
    ]
    hits = found.all.hit_rate
    assert (hits.count, hits.trials, hits.users) == (2, 3, 2)
    one = outcomes.run(*shown(tmp_path, records, rows), hours=1, k=1)
    assert (one.all.ctr.count, one.all.ctr.trials) == (1, 3)


def test_hidden_users_are_found_with_their_key(tmp_path: Path) -> None:
    user_ids = UserIds(b"0123456789abcdef")
    records = [logged(user_ids.hidden("u"), response([["a"]]), 1_000)]
    log, rows = shown(tmp_path, records, [("u", "a", 1_001)])
    assert outcomes.run(log, rows, user_ids=user_ids).all.ctr.count == 1
    with pytest.raises(DataError, match="KEY.*hidden ones and no key"):
        outcomes.run(log, rows)
    with pytest.raises(DataError, match="none of 1 users.*the key"):
        outcomes.run(log, rows, user_ids=UserIds(b"fedcba9876543210"))
    plain = shown(
        tmp_path, [logged("u", response([["a"]]))], [("u", "a", 9999)]
    )
    with pytest.raises(DataError, match="a key, none hidden"):
        outcomes.run(*plain, user_ids=user_ids)


@pytest.mark.parametrize(
    ("record", "row", "words"),
    [
        (logged("u", response([["a"]])), ("x", "a", 5_000), "none of 1 users"),
        (logged("u", response([["a"]])), ("u", "a", 999), "go on after"),
        (logged("", response([["a"]])), ("u", "a", 5_000), "1 for nobody"),
        (
            logged("u", response([["a"]]), model="retrieval"),
            ("u", "a", 5_000),
            "1 of retrieval, which callers do not show",
        ),
    ],
)
def test_what_does_not_belong_together_is_told(
    tmp_path: Path, record: PredictionLog, row: tuple, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        outcomes.run(*shown(tmp_path, [record], [row]))


def test_files_are_read_as_the_runs_own(tmp_path: Path) -> None:
    config = Config(
        name="x", seed=1, artifacts=str(tmp_path), source=SyntheticSource()
    )
    log, _ = shown(tmp_path, [logged("u", response([["a"]]))], [])
    (tmp_path / "new.csv").write_text("user_id,item_id,timestamp\nu,a,1005\n")
    found = step.outcomes(config, log, str(tmp_path / "new.csv"), 24, 10, None)
    assert found.all.hit_rate.count == 1
    written = json.loads((config.run_directory / "outcomes.json").read_text())
    assert written["all"]["ctr"]["value"] == 1.0
    page = (config.run_directory / "outcomes.md").read_text()
    assert "| place 1 |" in page
