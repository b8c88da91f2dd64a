"""The command line: one clear message, exit status 1, nothing half-written."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import __main__ as command
from pipeline.terminal import console


@pytest.fixture(autouse=True)
def _native_logs_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    # The test runner owns standard error here.
    monkeypatch.setattr(console, "quiet_native_logs", lambda path: None)


def _config(folder: Path, source: str) -> list[str]:
    path = folder / "test.toml"
    path.write_text(
        f'name = "test"\nseed = 1\nartifacts = "{folder / "artifacts"}"\n'
        f"[source]\n{source}\n"
    )
    return ["--config", str(path)]


def _fails(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> list[str]:
    assert command.main(arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if not line.startswith("[")]


def test_three_mistakes_in_a_config_are_three_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = _config(tmp_path, 'kind = "csv"\npaht = "x"\nencoding = 3')
    lines = _fails([*arguments, "prepare"], capsys)
    assert len(lines) == 3
    assert all(line.startswith("config: `") for line in lines)
    assert all("[source]" in line for line in lines)
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "log.csv"),
        ("", "log.csv"),
        ("user_id,item_id,timestamp\n", "log.csv"),
        ("user_id,item_id,timestamp\n,1,5\n", "empty"),
        ("user_id,item_id,timestamp\nu,1,yesterday\n", "yesterday"),
        ("who,item_id,timestamp\nu,1,5\n", "user_id"),
    ],
    ids=["missing", "empty", "no rows", "empty id", "time", "column"],
)
def test_a_bad_log_gets_one_message_and_leaves_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str | None,
    message: str,
) -> None:
    log = tmp_path / "log.csv"
    if content is not None:
        log.write_text(content)
    arguments = _config(tmp_path, f'kind = "tabular"\npath = "{log}"')
    # Rows that are wrong are listed under the message, one of each kind.
    lines = _fails([*arguments, "prepare"], capsys)
    assert lines[0].startswith("data: ")
    assert [line.startswith("data: ") for line in lines].count(True) == 1
    assert "Received" in lines[0]
    assert message in "".join(lines)
    run = tmp_path / "artifacts" / "runs" / "test"
    assert [path.name for path in run.glob("*") if path.is_dir()] == []


def test_a_corrupt_archive_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ml-100k.zip"
    path.write_bytes(b"PK\x03\x04 and nothing more")
    arguments = _config(tmp_path, f'kind = "movielens"\npath = "{path}"')
    (line,) = _fails([*arguments, "prepare"], capsys)
    assert line.startswith("data: ")
    assert "ml-100k.zip" in line


def test_rollback_without_a_release_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = _config(tmp_path, 'kind = "synthetic"')
    (line,) = _fails([*arguments, "rollback"], capsys)
    assert line.startswith("rejected: A rollback needs an earlier release.")
    assert "make retrain" in line


@pytest.mark.parametrize(
    ("module", "arguments", "status"),
    [
        ("pipeline", ["--help"], 0),
        ("pipeline", ["options"], 0),
        ("pipeline", ["init-config"], 2),
        ("serving.client", ["--help"], 0),
    ],
)
def test_what_is_only_told_loads_nothing_heavy(
    module: str, arguments: list[str], status: int
) -> None:
    heavy = ["tensorflow", "tf_keras", "ibis", "duckdb", "pandas", "scipy"]
    code = (
        "import runpy, sys, atexit\n"
        f"atexit.register(lambda: sys.stderr.write(repr([m for m in {heavy} "
        "if m in sys.modules])))\n"
        f"sys.argv = [{module!r}, *{arguments}]\n"
        f"runpy.run_module({module!r}, run_name='__main__')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert run.returncode == status
    assert run.stderr.endswith("[]"), run.stderr
