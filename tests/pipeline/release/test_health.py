"""A trial is promoted, ended or left alone by what Prometheus saw of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import __main__ as command
from pipeline.release import health, publish, trial
from pipeline.release.gate import GateRejected
from pipeline.run.config import Config
from pipeline.terminal import console
from serving.errors import ServingError
from serving.releases import ledger
from tests.support import fake_prometheus
from tests.support.fake_prometheus import FakePrometheus
from tests.support.staged import ago, state_of


@pytest.fixture
def prometheus() -> Iterator[FakePrometheus]:
    with fake_prometheus.running() as found:
        yield found


@pytest.fixture
def tried(config: Config) -> Config:
    """Version 3 has been on trial for 61 minutes."""
    trial.canary(config, 5)
    ago(config.serving_directory, 61)
    return config


def test_an_hour_without_alerts_makes_it_live(
    tried: Config, prometheus: FakePrometheus
) -> None:
    found = health.promote(tried, prometheus.address + "/", "by cron")
    assert found == (3, True, "an hour without alerts")
    assert state_of(tried).releases == (3, 2, 1)
    entries, _ = ledger.read(tried.serving_directory)
    assert entries[-1].why.endswith("of users: an hour without alerts: by cron")
    alerts, seen, count = prometheus.asked
    assert alerts == (
        'last_over_time(ALERTS{alertstate="firing",trial="ends"}[3600s])'
    )
    requests = ':recommender:version_request_count{version="3"}'
    assert seen == f"count({requests} offset 1h)"
    assert count == f"sum(increase({requests}[1h]))"


@pytest.mark.parametrize("minutes", [61, 5])
def test_an_alert_ends_the_trial_at_once_and_says_why(
    config: Config, prometheus: FakePrometheus, minutes: int
) -> None:
    trial.canary(config, 5)
    ago(config.serving_directory, minutes)
    prometheus.fired = ["LatencyP99", "ErrorRate"]
    with pytest.raises(GateRejected, match="ErrorRate, LatencyP99"):
        health.promote(config, prometheus.address)
    state = state_of(config)
    assert (state.live, state.canary) == (2, None)
    entries, _ = ledger.read(config.serving_directory)
    assert (entries[-1].event, entries[-1].version) == ("withdrawn", 3)
    assert "fired during the trial: ErrorRate, LatencyP99" in entries[-1].why
    # Alerts from before the trial are not asked for.
    assert prometheus.asked[0].endswith(f"[{min(minutes * 60, 3_600)}s])")


@pytest.mark.parametrize(
    ("minutes", "counted", "why"),
    [
        (59, {}, "on trial for 59 minutes of an hour"),
        # The clock went back.
        (-90, {}, "on trial for 0 minutes of an hour"),
        (61, {}, "Prometheus has not watched it for an hour"),
        (61, {"count(": 1, "sum(increase(": 99.0}, "99 requests reached it"),
        (61, {"count(": 1}, "0 requests reached it"),
    ],
)
def test_what_cannot_be_judged_yet_stays_on_trial(
    config: Config,
    prometheus: FakePrometheus,
    minutes: int,
    counted: dict[str, float],
    why: str,
) -> None:
    trial.canary(config, 5)
    ago(config.serving_directory, minutes)
    prometheus.counted = counted
    before = state_of(config)
    version, is_live, said = health.promote(config, prometheus.address)
    assert (version, is_live) == (3, False) and why in said
    assert state_of(config) == before


def test_another_share_does_not_begin_the_hour_anew(
    tried: Config, prometheus: FakePrometheus
) -> None:
    trial.canary(tried, 20)
    assert health.promote(tried, prometheus.address).is_live


def test_nothing_on_trial_asks_nobody(config: Config) -> None:
    found = health.promote(config, "http://127.0.0.1:1")
    assert found == (None, False, "no version is on trial")


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"rules": {}}, "label trial=\"ends\".*Received: none"),
        ({"rules": {"ErrorRate": "err"}}, "rules that fail: ErrorRate"),
        ({"status": 503}, "503"),
        ({"body": b"<html>"}, "Received: JSONDecodeError"),
        ({"body": b'{"status": "error", "error": "too busy"}'}, "too busy"),
        ({"body": b'{"status": "success", "data": {}}'}, "KeyError"),
        ({"address": "http://127.0.0.1:1"}, "Connection refused"),
        ({"address": "prometheus:9090"}, "must begin with http"),
    ],
)  # fmt: skip
def test_a_prometheus_that_cannot_say_changes_nothing(
    tried: Config, prometheus: FakePrometheus, said: dict, match: str
) -> None:
    for name, value in said.items():
        setattr(prometheus, name, value)
    before = state_of(tried)
    with pytest.raises(ServingError, match=match):
        health.promote(tried, prometheus.address)
    assert state_of(tried) == before


@pytest.mark.parametrize("fired", [[], ["ErrorRate"]])
def test_a_verdict_is_of_the_version_it_was_asked_for(
    tried: Config,
    prometheus: FakePrometheus,
    fired: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody ends the trial meanwhile: the live version stays live."""
    prometheus.fired = fired
    real = health.Prometheus.fired

    def slow(asked: health.Prometheus, seconds: float) -> list[str]:
        publish.rollback(tried)
        return real(asked, seconds)

    monkeypatch.setattr(health.Prometheus, "fired", slow)
    with pytest.raises(GateRejected, match="on trial is none"):
        health.promote(tried, prometheus.address)
    assert state_of(tried).releases == (2, 1)


def test_the_command_line_says_what_it_decided(
    config: Config,
    prometheus: FakePrometheus,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(console, "quiet_native_logs", lambda path: None)
    path = tmp_path / "test.toml"
    path.write_text(
        f'name = "test"\nseed = 1\nartifacts = "{config.artifacts}"\n'
    )
    given = ["--config", str(path), "promote", "--if-healthy"]

    def said(status: int) -> str:
        assert command.main([*given, prometheus.address]) == status
        captured = capsys.readouterr()
        return (captured.out or captured.err).strip()

    none = "promote: nothing is promoted, no version is on trial"
    assert said(0) == none
    trial.canary(config, 5)
    ago(config.serving_directory, 12)
    early = "promote: version 3 is not promoted, on trial for 12 minutes"
    assert said(0) == f"{early} of an hour"
    ago(config.serving_directory, 61)
    assert said(0) == "promote: version 3 is promoted, an hour without alerts"
    # The textfile follows.
    told = Path(config.artifacts, "metrics", "test.releases.prom").read_text()
    assert 'role="live",run="test",version="3"' in told
    publish.rollback(config)
    prometheus.body = b"busy"
    assert said(0) == none
