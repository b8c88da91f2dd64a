"""Steps run when something they need changed, and only then."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.evaluate.evaluation import Evaluation
from pipeline.run import config as configuration
from pipeline.run import manifest
from pipeline.run.auto import Choice
from pipeline.run.config import Config
from pipeline.steps import Manner, Run
from serving.ondevice import bundle as ondevice
from tests.support.published import copied
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
STEPS = (
    "prepare",
    "check-data",
    "train-retrieval",
    "index",
    "train-ranking",
    "distill",
    "export",
    "ondevice-export",
)
# What is made of a retrieval model.
LATER = {*STEPS[3:], "evaluate"}


class Copied(Run):
    """Steps that take what the shared run made, and train nothing.

    What they depend on, and what stands for that, is decided as ever.
    """

    def __init__(
        self, made: Path, config: Config, progress: Callable[[str], None]
    ) -> None:
        super().__init__(config, progress=progress)
        self._made = made

    def _step(
        self,
        name: str,
        inputs: manifest.Inputs,
        work: Callable[[Path], Sequence[Choice] | None],
        may_force: bool = True,
    ) -> Path:
        def copy(directory: Path) -> None:
            shutil.copytree(self._made / name, directory, dirs_exist_ok=True)

        return super()._step(name, inputs, copy, may_force)


def _copy_of(run: Run, folder: Path) -> Run:
    """The same finished run elsewhere, so that a test may change it."""
    config = replace(run.config, artifacts=str(folder))
    shutil.copytree(run.config.run_directory, config.run_directory)
    return Run(config)


def test_nothing_changed_skips_every_step_and_says_so(tiny_run: Run) -> None:
    lines: list[str] = []
    Run(tiny_run.config, progress=lines.append).evaluate()
    assert len(lines) == len(STEPS) + 1
    assert all("up to date, skipped" in line for line in lines)


@pytest.mark.parametrize(
    ("section", "option", "value", "expected"),
    [
        ("retrieval", "epochs", 2, {"train-retrieval", *LATER}),
        ("index", "num_candidates", 29, LATER),
        ("ranking", "epochs", 1, LATER - {"index"}),
        ("student", "epochs", 1, {"distill", "ondevice-export", "evaluate"}),
        ("evaluate", "num_users", 200, {"evaluate"}),
        ("publish", "must_beat", ("random",), set()),
    ],
)
def test_a_changed_section_reruns_its_step_and_those_after(
    tiny_run: Run,
    tmp_path: Path,
    section: str,
    option: str,
    value: object,
    expected: set[str],
) -> None:
    made = tiny_run.config.run_directory
    config = _copy_of(tiny_run, tmp_path).config
    changed = replace(getattr(config, section), **{option: value})
    config = replace(config, **{section: changed})
    lines: list[str] = []
    Copied(made, config, lines.append).evaluate()
    assert set(_ran(lines)) == expected
    kept = {*STEPS, "evaluate"} - expected
    for name in (*STEPS, "evaluate"):
        before, now = (
            manifest.Record.read(some / name)
            for some in (made, config.run_directory)
        )
        assert (before == now) == (name in kept)
    lines.clear()
    Copied(made, config, lines.append).evaluate()
    assert not _ran(lines)


def _ran(lines: list[str]) -> list[str]:
    return [line.split(":")[0] for line in lines if line.endswith("running")]


@pytest.mark.slow
def test_a_run_killed_in_training_goes_on_where_it_stopped(
    tmp_path: Path,
) -> None:
    path = tmp_path / "killed.toml"
    path.write_text(
        f'name = "killed"\nseed = 1\nartifacts = "{tmp_path}"\n'
        "[source]\nnum_users = 200\nnum_items = 100\n"
        "interactions_per_user = 12\n"
        '[prepare]\nsplit = "leave_last_out"\n'
        '[retrieval]\nencoder = "bow"\nembedding_dim = 8\nepochs = 1000\n'
    )
    run = tmp_path / "runs" / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "--config", str(path)]
        + ["train-retrieval"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually((run / ".staging-train-retrieval").exists, 60)
        assert process.poll() is None
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (run / "train-retrieval").exists()
    made = manifest.Record.read(run / "prepare")
    lines: list[str] = []
    config = configuration.load(path, ["retrieval.epochs=1"])
    Run(config, progress=lines.append).train_retrieval()
    assert _ran(lines) == ["train-retrieval"]
    assert manifest.Record.read(run / "prepare") == made
    assert manifest.Record.read(run / "train-retrieval") is not None
    assert not list(run.glob(".staging-*"))


def test_a_release_is_not_evaluated_again(released: Config) -> None:
    lines: list[str] = []
    Run(released, progress=lines.append).publish()
    assert not _ran(lines)
    assert "version 2 is this bundle" in lines[-1]
    bundle = ondevice.OnDevice(ondevice.live(released.serving_directory))
    assert bundle.config["version"] == 2
    assert bundle.replay() > 0


def test_what_is_released_was_compared_with_what_was_live(
    released: Config,
) -> None:
    compared = Evaluation.read(Run(released).evaluation)
    assert (compared.live.version, compared.live.not_compared) == (1, "")


@pytest.mark.slow
def test_training_starts_from_what_is_live_once(
    released: Config, tmp_path: Path
) -> None:
    config = copied(released, tmp_path / "artifacts")
    less = replace(config.ranking, epochs=2)
    changed = replace(config, ranking=less)
    for options, expected in ((config, 0), (changed, 2), (changed, 0)):
        lines: list[str] = []
        Run(options, Manner(warm=True), lines.append).distill()
        assert len(_ran(lines)) == expected
    for step, part in (("train-ranking", "ranking"), ("distill", "student")):
        made = manifest.Record.read(config.run_directory / step)
        assert made is not None
        begun = {choice["option"]: choice["value"] for choice in made.choices}
        assert begun[f"{part} starts from"] == "version 2"


@pytest.mark.slow
def test_another_run_s_release_is_not_compared(
    released: Config, tmp_path: Path
) -> None:
    lines: list[str] = []
    config = copied(released, tmp_path / "artifacts")
    config.run_directory.rename(config.run_directory.parent / "other")
    other = Run(replace(config, name="other"), progress=lines.append)
    facts = other.export() / "retrieval/assets.extra/manifest.json"
    told = json.loads(facts.read_text())
    facts.write_text(json.dumps(told | {"run": "other", "bundle_id": "b"}))
    lines.clear()
    other.evaluate()
    assert _ran(lines) == ["evaluate"]
    compared = Evaluation.read(other.evaluation)
    assert "of another run, 'tiny'" in compared.live.not_compared
    assert "live" not in compared.models
