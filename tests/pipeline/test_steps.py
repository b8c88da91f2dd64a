"""Steps run when something they need changed, and only then."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from models.config import RankingConfig
from pipeline.run import manifest
from pipeline.run.release import EvaluateConfig, PublishConfig
from pipeline.steps import Run
from serving.ondevice import bundle as ondevice

ROOT = Path(__file__).resolve().parents[2]
STEPS = (
    "prepare",
    "train-retrieval",
    "index",
    "train-ranking",
    "distill",
    "export",
    "ondevice-export",
)


def _copy_of(run: Run, folder: Path) -> Run:
    """The same finished run elsewhere, so that a test may change it."""
    config = replace(run.config, artifacts=str(folder))
    shutil.copytree(run.config.run_directory, config.run_directory)
    return Run(config)


@pytest.fixture(scope="module")
def changed(
    tiny_run: Run, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, list[str]]:
    """The run with another ranking model, and what making it said."""
    run = _copy_of(tiny_run, tmp_path_factory.mktemp("changed"))
    ranking = RankingConfig(epochs=1)
    lines = _lines(run, ranking=ranking)
    return Run(replace(run.config, ranking=ranking)), lines


def _lines(run: Run, **sections: object) -> list[str]:
    lines: list[str] = []
    changed = Run(replace(run.config, **sections), progress=lines.append)
    changed.evaluate()
    return lines


def test_nothing_changed_skips_every_step_and_says_so(tiny_run: Run) -> None:
    lines = _lines(tiny_run)
    assert len(lines) == len(STEPS) + 1
    assert all("up to date, skipped" in line for line in lines)


def test_a_changed_section_reruns_its_step_and_those_after(
    tiny_run: Run, changed: tuple[Run, list[str]]
) -> None:
    run, lines = changed
    assert _ran(lines) == [
        "train-ranking",
        "export",
        "distill",
        "ondevice-export",
        "evaluate",
    ]
    one, two = (
        manifest.Record.read(some.config.run_directory / "index")
        for some in (tiny_run, run)
    )
    assert one == two
    lines = _lines(run, evaluate=EvaluateConfig(num_users=200))
    assert _ran(lines) == ["evaluate"]


def _ran(lines: list[str]) -> list[str]:
    return [line.split(":")[0] for line in lines if line.endswith("running")]


def test_a_run_killed_in_training_goes_on_where_it_stopped(
    tmp_path: Path,
) -> None:
    config = tmp_path / "killed.toml"
    config.write_text(
        f'name = "killed"\nseed = 1\nartifacts = "{tmp_path}"\n'
        "[source]\nnum_users = 200\nnum_items = 100\n"
        "interactions_per_user = 12\n"
        '[prepare]\nsplit = "leave_last_out"\n'
        "[retrieval]\nembedding_dim = 8\nepochs = 1000\n"
    )
    run = tmp_path / "runs" / "killed"
    command = [sys.executable, "-m", "pipeline", "--config", str(config)]
    process = subprocess.Popen(
        [*command, "train-retrieval"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not (run / ".staging-train-retrieval").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (run / "train-retrieval").exists()
    made = manifest.Record.read(run / "prepare")
    done = subprocess.run(
        [*command, "--set", "retrieval.epochs=1", "train-retrieval"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "prepare: up to date" in done.stderr
    assert manifest.Record.read(run / "prepare") == made
    assert manifest.Record.read(run / "train-retrieval") is not None
    assert not list(run.glob(".staging-*"))


def test_a_release_is_compared_with_and_not_evaluated_again(
    tiny_run: Run, changed: tuple[Run, list[str]], tmp_path: Path
) -> None:
    run = _copy_of(tiny_run, tmp_path)
    gate = PublishConfig(must_beat=("random",), student_must_beat=("random",))
    forced = replace(run.config, publish=gate)
    Run(forced).publish()
    lines: list[str] = []
    Run(forced, progress=lines.append).publish()
    assert not _ran(lines)
    assert "version 1 is this bundle" in lines[-1]
    bundle = ondevice.OnDevice(ondevice.live(forced.serving_directory))
    assert bundle.config["version"] == 1
    assert bundle.replay() > 0

    lines.clear()
    # Beside it, a run with other models.
    shutil.rmtree(run.config.run_directory)
    retrained = _copy_of(changed[0], tmp_path).config
    run = Run(replace(retrained, publish=gate), progress=lines.append)
    run.evaluate()
    assert _ran(lines) == ["evaluate"]
    compared = json.loads(run.evaluation.read_text())
    assert compared["live"] == {"version": 1, "not_compared": ""}
    assert "live" in {row["model"] for row in compared["rows"]}

    # Another run's models answer other queries.
    shutil.copytree(
        run.config.run_directory, run.config.run_directory.parent / "other"
    )
    other = Run(replace(run.config, name="other"), progress=lines.append)
    shutil.rmtree(other.config.run_directory / "evaluate")
    facts = other.export() / "retrieval/assets.extra/manifest.json"
    facts.write_text(facts.read_text().replace('"tiny"', '"other"'))
    other.evaluate()
    compared = json.loads(other.evaluation.read_text())
    assert "of another run, 'tiny'" in compared["live"]["not_compared"]
    assert "live" not in {row["model"] for row in compared["rows"]}
