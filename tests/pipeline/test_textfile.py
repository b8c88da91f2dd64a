"""What Prometheus is told of a run that ended well, badly, or not at all."""

import contextlib
import datetime
import json
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline import __main__ as command
from pipeline import textfile
from pipeline.release import publish, trial
from pipeline.release.gate import GateRejected
from pipeline.run import manifest
from pipeline.run.config import Config
from pipeline.steps import Run
from pipeline.tables.schema import DataRefused
from pipeline.terminal import console
from serving.releases import ledger, locks
from tests.pipeline.prepare import test_checks as refused
from tests.support import nightly
from tests.support.staged import released, stage


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(trial, "TOLD_SECONDS", 0.0)
    return released(tmp_path)


def _told(config: Config, suffix: str = "") -> dict[str, float]:
    """Values by name and labels, of a file as Prometheus reads it."""
    path = Path(config.artifacts) / "metrics" / f"test{suffix}.prom"
    found = {}
    for family in text_string_to_metric_families(path.read_text("utf-8")):
        assert family.type == "gauge" and family.documentation
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("run") == "test"
            assert sample.name.startswith("recommender_")
            name = sample.name.removeprefix("recommender_")
            found[" ".join((name, *labels.values()))] = sample.value
    return found


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, 0),
        (OSError("disk"), 1),
        (ZeroDivisionError(), 1),
        (GateRejected("worse"), 3),
        (DataRefused("half is gone"), 4),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_end_of_a_run_is_told(
    config: Config, error: BaseException | None, status: int
) -> None:
    began = time.time()
    with contextlib.suppress(type(error) if error else ()):
        with textfile.written(config, "retrain"):
            if error:
                raise error
    found = _told(config)
    assert found["last_run_exit_status"] == status
    assert began <= found["last_run_timestamp_seconds"] <= time.time()
    assert 0 <= found["last_run_seconds"] < 60
    # Nothing else stands under a name that the collector would read.
    names = {path.name for path in Path(config.artifacts, "metrics").iterdir()}
    assert names == {"test.prom", "test.releases.prom"}


def test_what_steps_and_the_gate_left_is_told(config: Config) -> None:
    run = config.run_directory
    step = run / "prepare"
    step.mkdir(parents=True)
    manifest.Record({}, 5 * 10**9, 7.5, peak_bytes=2**30).write(step)
    rules = [{"outcome": "broken"}, {"outcome": "holds"}, {"outcome": "holds"}]
    manifest.write_json(run / "data_checks.json", {"rules": rules})
    (run / "decision.json").write_text(
        json.dumps({"quality": rules[:1], "servable": []})
    )
    with textfile.written(config, "retrain"):
        pass
    found = _told(config)
    assert found["step_made_timestamp_seconds prepare"] == 5
    assert found["step_seconds prepare"] == 7.5
    assert found["step_peak_bytes prepare"] == 2**30
    assert found["rules data holds"] == 2
    assert found["rules data broken"] == 1
    assert found["rules data not judged"] == 0
    assert found["rules quality broken"] == 1
    assert "rules servable broken" not in found
    # The evaluation that `stage` left.
    assert found["evaluation ndcg@10 two_stage"] > 0


def test_a_release_is_told_whoever_makes_it(config: Config) -> None:
    with textfile.written(config, "canary"):
        trial.canary(config, 7)
    found = _told(config, ".releases")
    assert found["canary_percent_of_users"] == 7
    roles = {
        name.split()[1:][0]: name.split()[-1]
        for name in found
        if "version" in name
    }
    assert roles == {"live": "2", "canary": "3", "previous": "1"}
    assert not Path(config.artifacts, "metrics", "test.prom").exists()


def test_a_rollback_is_no_release(config: Config) -> None:
    trial.canary(config, 7)
    trial.promote(config)
    publish.rollback(config)
    path = config.serving_directory / ledger.FILE
    # A day an event: the promotion's is the third last.
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    days = [f"2026-01-{day:02}T00:00:00Z" for day in range(1, 1 + len(lines))]
    path.write_text(
        "\n".join(
            json.dumps(line | {"at": day})
            for line, day in zip(lines, days, strict=True)
        )
    )
    with textfile.written(config, "rollback"):
        pass
    found = _told(config, ".releases")
    released, *_, now = (
        datetime.datetime.fromisoformat(day).timestamp() for day in days[-3:]
    )
    assert lines[-3]["event"] == "live" and lines[-3]["version"] == 3
    assert found["last_release_timestamp_seconds"] == released
    assert found["version_since_timestamp_seconds live 2"] == now


def test_a_run_that_was_kept_out_is_not_told_of(config: Config) -> None:
    with pytest.raises(locks.Held), textfile.written(config, "retrain"):
        raise locks.Held("another one is at it")
    assert not Path(config.artifacts, "metrics").exists()


def test_damaged_files_hide_no_exit_status(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    stage(config, "b9")[1].write_text('{"rows": 3}')
    (config.serving_directory / "models.config").write_text(
        "# releases, live first: two\n"
    )
    with pytest.raises(ZeroDivisionError):
        with textfile.written(config, "retrain"):
            raise ZeroDivisionError
    assert _told(config)["last_run_exit_status"] == 1
    assert caplog.text.count("lacks what cannot be read") == 2


def test_a_folder_that_takes_no_file_changes_no_exit_status(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    Path(config.artifacts, "metrics").write_text("in the way")
    with textfile.written(config, "retrain"):
        pass
    assert caplog.text.count("was not written") == 2


def test_refused_data_end_with_status_4(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(console, "quiet_native_logs", lambda path: None)

    def trained(run: Run) -> Path:
        raise AssertionError(f"{run} trained on data that were refused")

    monkeypatch.setattr(Run, "index", trained)
    artifacts, log = tmp_path / "artifacts", nightly.days(0, 21, 1)
    made = Config("test", 1, artifacts=str(artifacts))
    live = refused.prepare(tmp_path / "live", log)
    refused.publish(live, made, run="test")
    pq.write_table(refused.half_gone(log).table(), tmp_path / "half.parquet")
    config = tmp_path / "test.toml"
    config.write_text(
        f'name = "test"\nseed = 1\nartifacts = "{artifacts}"\n[source]\n'
        f'kind = "tabular"\npath = "{tmp_path}/half.parquet"\n'
        'rating = "rating"\n[prepare]\nsplit = "temporal"\n'
    )
    pointer = (made.serving_directory / "models.config").read_bytes()
    given = ["--quiet", "--config", str(config), "retrain"]
    assert command.main(given) == 4
    *reasons, advice = capsys.readouterr().err.splitlines()
    assert reasons and all(line.startswith("refused: ") for line in reasons)
    assert "--accept-data" in advice
    assert (made.serving_directory / "models.config").read_bytes() == pointer
    found = _told(made)
    assert found["last_run_exit_status"] == 4
    assert found["rules data broken"] == len(reasons)
