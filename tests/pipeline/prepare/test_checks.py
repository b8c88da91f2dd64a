"""Planted shifts are refused in words, a normal next day passes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.prepare import checks, step
from pipeline.run.config import Config
from pipeline.run.data import ChecksConfig, PrepareConfig, TabularSource
from pipeline.tables import prepared as tables
from pipeline.tables import profile
from pipeline.tables.schema import DataRefused
from serving import signatures
from tests.support import nightly
from tests.support.nightly import DAY, START, Log

DAYS = 21


def prepare(folder: Path, log: Log, seed: int = 1) -> tables.Prepared:
    folder.mkdir(parents=True)
    pq.write_table(log.table(), folder / "log.parquet")
    source = TabularSource(
        kind="tabular", path=str(folder / "log.parquet"), rating="rating"
    )
    options = PrepareConfig(split="temporal")
    config = Config("nightly", seed, source=source, prepare=options)
    step.run(config, folder)
    return tables.load(folder)


def publish(
    live: tables.Prepared,
    config: Config,
    version: int = 1,
    run: str = "nightly",
) -> None:
    """What the checks read of a release."""
    for name in signatures.BUNDLE:
        model = config.serving_directory / name / str(version)
        (model / "assets.extra").mkdir(parents=True)
        (model / "saved_model.pb").write_bytes(b"graph")
        manifest = {"bundle_id": "b1", "run": run}
        text = json.dumps(manifest)
        (model / "assets.extra/manifest.json").write_text(text)
    beside = config.serving_directory / signatures.RETRIEVAL / str(version)
    profile.of(live).write(beside / "assets.extra")
    (config.serving_directory / "models.config").write_text(
        f"# releases, live first: {version}\n"
    )


def judged(
    folder: Path, live: Log, now: Log, reason: str = "", **options: float
) -> dict:
    """What the checks write of one log against another's release."""
    config = Config(
        "nightly",
        1,
        artifacts=str(folder / "artifacts"),
        checks=ChecksConfig(**options),
    )
    publish(prepare(folder / "live", live), config)
    found = prepare(folder / "now", now)
    (folder / "step").mkdir()
    config.run_directory.mkdir(parents=True)
    checks.run(config, found, folder / "step", reason)
    return json.loads((config.run_directory / checks.FILE).read_text())


@pytest.mark.parametrize("a_day", [60, 200, 1_200])
@pytest.mark.parametrize("seed", range(4))
def test_a_normal_next_day_passes(
    tmp_path: Path, seed: int, a_day: int
) -> None:
    last = DAYS + seed
    live, now = (nightly.days(0, end, seed, a_day) for end in (last, last + 1))
    found = judged(tmp_path, live, now)
    assert found["verdict"] == "passed", found
    outcomes = {rule["name"]: rule["outcome"] for rule in found["rules"]}
    assert set(outcomes.values()) == {"holds"}
    for name in (
        "volume of interactions",
        "known users",
        "known items",
        "duplicates",
        "range of rating",
        "stability of items by popularity",
        "stability of hour of the day (UTC)",
        "volume since the live version",
        "new users since the live version",
        "hours since the live version",
    ):
        assert name in outcomes


def half_gone(log: Log) -> Log:
    return log.take(np.flatnonzero(np.arange(len(log.times)) % 2))


def other_ids(log: Log) -> Log:
    return replace(log, users=log.users + 10**6, items=log.items + 10**6)


def in_one_hour(log: Log) -> Log:
    times = log.times // DAY * DAY + log.times % 3_600
    return replace(log, times=times)


@pytest.mark.parametrize(
    ("change", "rule", "words"),
    [
        (half_gone, "volume of interactions", "5\\d% of the live version's"),
        (other_ids, "known users", "0% of 760 users of the live version's"),
        (
            lambda log: replace(log, ratings=log.ratings * 10),
            "range of rating",
            "`rating` is 10 to 50, .* Has its scale or unit changed",
        ),
        (
            in_one_hour,
            "stability of hour of the day (UTC)",
            "hour of the day .*: PSI 10\\.\\d+ .* much change",
        ),
        (
            lambda log: nightly.join(log, log),
            "duplicates",
            "stand there twice, .* Was a file delivered twice",
        ),
    ],
)
def test_a_planted_shift_of_all_is_refused(
    tmp_path: Path, change, rule: str, words: str
) -> None:
    live, now = (nightly.days(0, end, 5) for end in (DAYS, DAYS + 1))
    with pytest.raises(DataRefused, match=words) as caught:
        judged(tmp_path, live, change(now))
    assert '--accept-data "why"' in caught.value.reasons[-1]
    found = json.loads(
        (tmp_path / "artifacts/runs/nightly/data_checks.json").read_text()
    )
    assert found["verdict"] == "refused" and found["live"] == 1
    broken = [r["name"] for r in found["rules"] if r["outcome"] == "broken"]
    assert rule in broken
    assert len(broken) == len(caught.value.reasons) - 1
    # Nothing but what was planted, and what it brings about.
    assert len(broken) <= 6, broken


@pytest.mark.parametrize("a_day", [120, 1_200])
@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (other_ids, "new users since the live version"),
        (in_one_hour, "hours since the live version"),
        (
            lambda log: log.take(np.arange(len(log.times) // 9)),
            "volume since the live version",
        ),
        (
            lambda log: replace(log, ratings=log.ratings * 10),
            "range of rating",
        ),
    ],
)
def test_a_new_day_is_held_against_the_days_before(
    tmp_path: Path, change, rule: str, a_day: int
) -> None:
    live = nightly.days(0, DAYS, 6, a_day)
    day = change(nightly.days(DAYS, DAYS + 1, 6, a_day))
    # So that a thinned day is one in time too.
    ends = replace(
        day.take(np.array([0])), times=np.array([START + (DAYS + 1) * DAY - 1])
    )
    with pytest.raises(DataRefused) as caught:
        judged(tmp_path, live, nightly.join(live, day, ends))
    found = json.loads(
        (tmp_path / "artifacts/runs/nightly/data_checks.json").read_text()
    )
    broken = [r["name"] for r in found["rules"] if r["outcome"] == "broken"]
    assert rule in broken, caught.value.reasons


def test_a_day_without_users_is_no_yardstick(tmp_path: Path) -> None:
    """The shop was closed on one of the days before but for one new user."""
    parts = [nightly.days(day, day + 1, 6) for day in range(DAYS)]
    parts[-2] = other_ids(parts[-2]).take(np.arange(3))
    live = nightly.join(*parts)
    day = in_one_hour(other_ids(nightly.days(DAYS, DAYS + 1, 6)))
    ends = replace(
        day.take(np.array([0])), times=np.array([START + (DAYS + 1) * DAY - 1])
    )
    with pytest.raises(DataRefused):
        judged(tmp_path, live, nightly.join(live, day, ends))
    found = json.loads(
        (tmp_path / "artifacts/runs/nightly/data_checks.json").read_text()
    )
    broken = {r["name"] for r in found["rules"] if r["outcome"] == "broken"}
    assert {
        "new users since the live version",
        "hours since the live version",
    } <= broken


def test_what_somebody_accepts_is_trained_on_and_recorded(
    tmp_path: Path,
) -> None:
    live = nightly.days(0, 9, 7)
    found = judged(tmp_path, live, half_gone(live), "the shop in Oslo closed")
    assert found["verdict"] == "accepted"
    assert found["accepted"] == "the shop in Oslo closed"


def test_thresholds_come_from_the_config(tmp_path: Path) -> None:
    live = nightly.days(0, 9, 7)
    found = judged(tmp_path, live, half_gone(live), max_loss=0.6, max_psi=9.0)
    assert found["verdict"] == "passed"


def test_without_a_live_version_it_passes_and_says_so(tmp_path: Path) -> None:
    config = Config("nightly", 1, artifacts=str(tmp_path / "artifacts"))
    found = prepare(tmp_path / "now", nightly.days(0, 5, 1))
    config.run_directory.mkdir(parents=True)
    (choice,) = checks.run(config, found, config.run_directory)
    assert choice.why.startswith("nothing is live yet")
    publish(found, config)
    (choice,) = checks.run(replace(config, name="b"), found, tmp_path)
    assert "is of another run, 'nightly'" in choice.why
    (
        config.serving_directory / "retrieval/1/assets.extra/profile.json"
    ).unlink()
    (choice,) = checks.run(config, found, tmp_path)
    assert "version 1 says nothing of its data" in choice.why
