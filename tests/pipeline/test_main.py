"""The command line: one clear message, exit status 1, nothing half-written."""

import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline import __main__ as command
from pipeline.terminal import console
from serving.releases import locks


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
    arguments: list[str], capsys: pytest.CaptureFixture[str], status: int = 1
) -> list[str]:
    assert command.main(arguments) == status
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
    (line,) = _fails([*arguments, "rollback"], capsys, 3)
    assert line.startswith("rejected: A rollback needs an earlier release.")
    assert "make retrain" in line


@pytest.mark.parametrize(
    ("module", "arguments", "status"),
    [
        ("pipeline", ["--help"], 0),
        ("pipeline", ["options"], 0),
        ("pipeline", ["status"], 0),
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


@pytest.mark.parametrize("command_line", [["options"], ["options", "index"]])
def test_an_answer_is_one_json_document_on_request(
    capsys: pytest.CaptureFixture[str], command_line: list[str]
) -> None:
    assert command.main(["--json", *command_line]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["index"]["kind"]["default"] == '"auto"'


def test_a_check_is_one_json_document_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = 'kind = "synthetic"\nnum_users = 60\nnum_items = 80'
    arguments = _config(tmp_path, source)
    assert command.main(["--json", "--quiet", *arguments, "check"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert not captured.err
    assert any("most often stood" in line for line in found["findings"])
    assert any("users in the test part" in line for line in found["warnings"])


def test_an_error_is_one_line_where_json_is_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["--json", "options", "indx"]) == 1
    captured = capsys.readouterr()
    assert not captured.out
    assert len(captured.err.splitlines()) == 1


def test_an_interrupt_is_one_line_and_leaves_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    from pipeline.prepare import step

    monkeypatch.setattr(step, "write", interrupt)
    arguments = _config(tmp_path, 'kind = "synthetic"\nnum_users = 60')
    assert command.main(["--quiet", *arguments, "prepare"]) == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("interrupted: ")
    run = tmp_path / "artifacts" / "runs" / "test"
    assert [path.name for path in run.glob("*") if path.is_dir()] == []


def test_bash_completes_commands_and_flags() -> None:
    script = (
        f'eval "$({sys.executable} -m pipeline completion bash)"\n'
        "complete() { :; }\n"
        "COMP_WORDS=(pipeline retr); COMP_CWORD=1; _shtab_pipeline\n"
        'echo "${COMPREPLY[@]}"\n'
        "COMP_WORDS=(pipeline init-config --in); COMP_CWORD=2\n"
        '_shtab_pipeline; echo "${COMPREPLY[@]}"; pipeline options index\n'
    )
    run = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True
    )
    lines = run.stdout.splitlines()
    assert lines[:2] == ["retrain", "--interactions"]
    assert lines[2].startswith("[index]")


def test_zsh_gets_a_function_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main(["completion", "zsh"]) == 0
    script = capsys.readouterr().out
    assert script.startswith("#compdef pipeline\n")
    assert script.splitlines()[-1].startswith("pipeline() { ")
    assert "retrain" in script and "--interactions" in script
    if zsh := shutil.which("zsh"):
        subprocess.run([zsh, "-n"], input=script, text=True, check=True)


def test_nothing_is_coloured() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pipeline", "options"],
        capture_output=True,
        env=os.environ | {"NO_COLOR": "1"},
        check=True,
    )
    assert b"\033" not in run.stdout + run.stderr


def test_one_command_at_a_time_makes_steps_of_a_run(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = _config(tmp_path, "num_users = 60\nnum_items = 100")
    run = tmp_path / "artifacts" / "runs" / "test"
    left = run / ".staging-prepare"
    with locks.Lock(run / locks.FILE):
        left.mkdir()
        for name in ("prepare", "retrain", "demo"):
            (line,) = _fails([*arguments, name], capsys)
            assert line.startswith("locked: One command at a time")
            assert f"pid {os.getpid()} on" in line
        # What the other one writes is left alone, and what only reads works.
        assert left.is_dir()
        assert command.main([*arguments, "options", "index"]) == 0
    asleep = threading.Event()
    monkeypatch.setattr(locks.time, "sleep", lambda _: asleep.set())
    with ThreadPoolExecutor() as pool:
        with locks.Lock(run / locks.FILE):
            waiting = pool.submit(
                command.main, [*arguments, "prepare", "--wait"]
            )
            assert asleep.wait(30)
            assert left.is_dir()
        assert waiting.result(60) == 0
    assert (run / "prepare" / "manifest.json").is_file()
    assert not left.exists()
