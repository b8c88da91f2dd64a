"""The command line: one clear message, exit status 1, nothing half-written."""

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest

from pipeline import __main__ as command
from pipeline.terminal import console
from serving.releases import locks
from tests.support.waiting import eventually


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


def test_a_shard_is_of_the_run_and_not_of_other_items(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["index", "--shard", "0/2", "--items", "new.csv"])
    assert ended.value.code == 2
    assert "--items: not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize("hours", ["inf", "nan", "0", "-1", "a day"])
def test_a_window_is_hours(
    hours: str, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ["outcomes", "--log", "log", "--interactions", "log.csv"]
    with pytest.raises(SystemExit) as ended:
        command.main([*named, f"--hours={hours}"])
    assert ended.value.code == 2
    assert "argument --hours: " in capsys.readouterr().err


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


def test_a_run_that_is_told_to_end_says_so(tmp_path: Path) -> None:
    arguments = _config(tmp_path, 'kind = "synthetic"\nnum_users = 300_000')
    run = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments, "retrain"],
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually(lambda: list(tmp_path.rglob(".staging-prepare")))
    time.sleep(2)  # An interrupt of an import may end as the import's failure.
    run.send_signal(signal.SIGTERM)
    _, said = run.communicate(timeout=60)
    # Python's own way to end while it imports; a shell calls both 130.
    assert run.returncode in (130, -signal.SIGINT)
    assert said.splitlines()[-1].startswith("interrupted: ")
    (told,) = tmp_path.rglob("test.prom")
    status = 'recommender_last_run_exit_status{run="test"} 130.0'
    assert status in told.read_text()


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


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_zsh_completes_commands_and_flags(tmp_path: Path) -> None:
    script = tmp_path / "completion"
    with script.open("w") as file:
        command_line = [sys.executable, "-m", "pipeline", "completion", "zsh"]
        subprocess.run(command_line, stdout=file, check=True)
    keys = [
        "autoload -U compinit; compinit -D -u",
        f'eval "$(< {script})"',
        # What was completed, in place of what would run.
        'pipeline() { print -r -- "[got]" "$@" }',
        "pipeline retr\t",
        "pipeline init-config --inter\torders.csv",
        "pipeline --deb\tprep\t",
        "exit",
    ]
    child, terminal = pty.fork()
    if not child:
        os.execvp("zsh", ["zsh", "-f", "-i"])
    said = b""
    for line in keys:
        os.write(terminal, f"{line}\n".encode())
    # Reading ends with an error where the terminal has gone.
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 4096):
            said += part
    os.waitpid(child, 0)
    got = re.findall(r"^\[got\] (.*?)\r$", said.decode(), re.M)
    assert got == [
        "retrain",
        "init-config --interactions orders.csv",
        "--debug prepare",
    ], said


def _until_stopped(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("given", "text", "data"),
    [
        (
            ["explore"],
            "explore: http://here/ (Ctrl-C ends it)\n",
            {"url": "http://here/"},
        ),
        (
            ["explore", "--projector"],
            "explore: tensorboard --logdir vectors\n",
            {"directory": "vectors"},
        ),
        (
            ["spark-up"],
            "spark-up: prepare.engine=spark://a:1\nspark-up: Ctrl-C stops it\n",
            {"prepare.engine": "spark://a:1"},
        ),
    ],
)
def test_what_runs_until_stopped_has_an_answer_like_the_others(
    given: list[str],
    text: str,
    data: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def started(*given: object, **_: object) -> object:
        for progress in given[2:]:
            progress("explore: 3 items")  # type: ignore
        return contextlib.nullcontext(
            mock.Mock(url="http://here/", serve_forever=_until_stopped)
        )

    monkeypatch.setattr("pipeline.explore.step.start", started)
    monkeypatch.setattr(
        "pipeline.explore.step.project", lambda config: Path("vectors")
    )
    monkeypatch.setattr(
        "pipeline.prepare.spark_cluster.run",
        lambda *_, **__: contextlib.nullcontext("spark://a:1"),
    )
    monkeypatch.setattr("threading.Event.wait", _until_stopped)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    start = ["--quiet", "--set", f"artifacts={tmp_path}"]
    command.main([*start, *given])
    said = capsys.readouterr()
    assert said.out == text and "3 items" not in said.err
    command.main([*start, "--json", *given])
    assert json.loads(capsys.readouterr().out) == data


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
