"""The crontab of UNATTENDED.md, run as cron would."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from serving.releases import locks
from tests.support import documents

_TEXT = (documents.ROOT / "pipeline/UNATTENDED.md").read_text("utf-8")
LINES = re.findall(r"^(\S+ \S+ \S+ \S+ \S+) (cd /srv/.+)$", _TEXT, re.M)
HOME = "/srv/recommender"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A checkout with a config whose log is not there."""
    for name in ("models", "pipeline", "serving", ".venv"):
        (tmp_path / name).symlink_to(documents.ROOT / name)
    (tmp_path / "orders.toml").write_text(
        'name = "orders"\nseed = 1\n[source]\nkind = "tabular"\n'
        'path = "orders.csv"\n'
    )
    return tmp_path


def _cron(home: Path, command: str) -> str:
    """The log after a line ran in the shell and environment of cron."""
    subprocess.run(
        ["/bin/sh", "-c", command.replace(HOME, str(home))],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "LOGNAME": "root"},
        check=True,
        capture_output=True,
    )
    path = home / "night.log"
    return path.read_text() if path.exists() else ""


def _status(home: Path) -> float:
    text = (home / "artifacts/metrics/orders.prom").read_text()
    (value,) = re.findall(
        r"^recommender_last_run_exit_status.* (\S+)$", text, re.M
    )
    return float(value)


def test_cron_reads_both_lines() -> None:
    (night, retrain), (minutes, promote) = LINES
    assert re.fullmatch(r"\d+ \d+ \* \* \*", night)
    assert re.fullmatch(r"\*/\d+ \* \* \* \*", minutes)
    # There % ends the command.
    assert "%" not in retrain + promote
    assert " retrain " in retrain and " promote --if-healthy " in promote


def test_a_night_leaves_its_status_where_people_and_alerts_look(
    home: Path,
) -> None:
    (_, retrain), (_, promote) = LINES
    log = _cron(home, retrain)
    assert "data: " in log and "orders.csv" in log
    assert re.search(r"^retrain ended with 1 at .*\d", log, re.M)
    assert _status(home) == 1
    # Nothing is on trial: nothing to say of it but that, and no mail.
    log = _cron(home, promote).removeprefix(log)
    assert "promote: nothing is promoted" in log and "ended with" not in log


def test_a_night_that_finds_the_last_one_at_it_says_so_and_goes(
    home: Path,
) -> None:
    run = home / "artifacts/runs/orders"
    with locks.Lock(run / locks.FILE):
        log = _cron(home, LINES[0][1])
    assert "locked: One command at a time" in log
    assert f"pid {os.getpid()} on" in log
    assert re.search(r"^retrain ended with 1 at ", log, re.M)
    # The status of the last run that was one stays.
    assert not (home / "artifacts/metrics").exists()
