"""Every block of code of every document works, on one tiny published run.

What a block of shell starts is found by `tests.support.documents` and run here,
in this process; what cannot run here is in `ONLY_READ` with the reason, and is
held as far as that goes: its arguments are accepted, its files exist, its
config with what is set on the command line is valid.
"""

import argparse
import ast
import asyncio
import dataclasses
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.release import publish
from pipeline.run import config as configuration
from pipeline.run import toml
from pipeline.run.config import Config
from pipeline.terminal import console
from serving import client
from tests.support import (
    command_lines,
    documents,
    protosets,
    request_logs,
    serving_calls,
)
from tests.support.documents import Block
from tests.support.fake_server import INT64, FakeServer
from tests.support.ports import free_port
from tests.support.published import copied
from tests.support.shop import make_shop

ROOT = documents.ROOT
BLOCKS = documents.blocks()
# By module and command; by program where it is none of our modules.
ONLY_READ = {
    "pipeline demo": "trains; .ci/run has it as a stage",
    "pipeline ablation": "trains; tests/pipeline/bench/test_ablation.py",
    "pipeline bench-scale": "trains; tests/pipeline/bench/test_scale.py",
    "pipeline.bench.index": "minutes; tests/pipeline/bench/test_index.py",
    "pipeline bench-ondevice": "trains the toolkit's models as well",
    "pipeline train-retrieval --workers": "tests/pipeline/run/test_workers.py",
    "pipeline spark-up": "until stopped; tests/pipeline/prepare/test_spark.py",
    "pipeline.terminal.picture": "after demo; terminal/test_picture.py",
    "pipeline explore": "until stopped; tests/pipeline/explore",
    "pipeline canary": "none is staged; tests/pipeline/release/test_trial.py",
    "pipeline publish --replay": "tests/pipeline/feedback",
    "pipeline replay": "loads four models; tests/pipeline/feedback",
    "pipeline index --items": "makes a release; tests/pipeline/items",
    "pipeline promote": "no canary; tests/pipeline/release/test_trial.py",
    "pipeline prune": "others roll back; tests/pipeline/release/test_trial.py",
    "tensorboard": "until stopped",
    "serving.server": "until stopped; one runs beside these tests",
    "serving.ondevice.web": "until stopped; tests/serving/ondevice/web",
    "serving.bench": "seconds a phase; tests/serving/bench, test_swap.py",
    "pip": "a stage of .ci/run", "venv": "a stage of .ci/run",
    "ruff": "a stage of .ci/run", "mypy": "a stage of .ci/run",
    "pytest": "these are the tests", "uv": "a package index",
    "grpc_tools.protoc": "tests/serving/wire/test_wire.py",
    "jupyter": "tests/pipeline/test_notebook.py",
    "tests.support.reference": "tests/test_documents.py",
    ".ci/run": "runs these tests",
    "docker": "no engine; make test-images builds what it would",
    "kubectl": "no cluster", "kustomize": "no cluster",
    "npm": "a package index", "unzip": "data that are not here",
    "pre-commit": "no tool of ours; its file is held below",
}  # fmt: skip
REALLY = ("head", "cat", "curl")
# What recipes of the Makefile are made of; no document has them.
PARTS = "awk find ls mkdir paste pyenv rm sha256sum touch".split()
# Runs of minutes as they stand; here as short as their arguments allow.
SHORT = {"100_000_000": "1_000"}
MORE = {"serving.client bench": ["--seconds", "0.2", "--threads", "1"]}
DONE: set[str] = set()
WANTED = "make ", "python -m ", "pytest ", "kubectl ", "pre-commit "


@dataclass
class Place:
    """Where commands run: a directory like a checkout after `make demo`.

    Attributes:
        directory: Its path.
        addresses: What the documents' addresses are here.
        names: What the Python of each document has defined so far.
    """

    directory: Path
    addresses: dict[str, str]
    names: dict[str, dict[str, Any]] = field(default_factory=dict)

    def here(self, text: str) -> str:
        """A text with the addresses that answer here."""
        for theirs, ours in (self.addresses | SHORT).items():
            text = text.replace(theirs, ours)
        return text


def _write(config: Config, path: Path) -> None:
    """Writes a config so that it is read as the same one."""
    lines = [
        f"{name} = {toml.value(getattr(config, name))}"
        for name in ("name", "seed", "artifacts")
    ]
    for part in dataclasses.fields(config):
        section = getattr(config, part.name)
        if dataclasses.is_dataclass(section):
            lines.append(f"[{part.name}]")
            lines += [
                f"{one.name} = {toml.value(value)}"
                for one in dataclasses.fields(section)
                if (value := getattr(section, one.name)) is not None
            ]
    path.write_text("\n".join(lines) + "\n")
    assert configuration.load(path, ()) == config


@pytest.fixture(scope="module")
def directory(
    tmp_path_factory: pytest.TempPathFactory, released: Config
) -> Path:
    """What a checkout has after two releases, and a shop's files."""
    made = tmp_path_factory.mktemp("checkout")
    beside = [path.name for path in ROOT.glob("requirements*.txt")]
    for name in ("Makefile", "serving", ".github", *beside):
        (made / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "pipeline/configs", made / "pipeline/configs")
    make_shop(made, num_customers=30)
    log = ["user_id,item_id,timestamp"]
    log += [f"{n % 40},{n % 23},{n}" for n in range(400)]
    (made / "interactions.csv").write_text("\n".join(log))
    config = copied(released, made / "artifacts")
    request_logs.write(
        made / "artifacts/requests/log-1.tfrecord",
        request_logs.warm_up(config.serving_directory / "recommender/1", "3"),
    )
    shutil.copy(config.serving_directory / "popular.json", made)
    for name in ("orders", "last8", "c", "pipeline/configs/sample"):
        _write(
            dataclasses.replace(config, artifacts="artifacts"),
            made / f"{name}.toml",
        )
    return made


@pytest.fixture(scope="module")
def place(directory: Path) -> Iterator[Place]:
    """That directory, with a server on what is published there."""
    rest = free_port()
    before = Path.cwd()
    os.chdir(directory)
    pointer = Path("artifacts/serving") / publish.POINTER
    try:
        with (
            serving_calls.running(
                f"--model_config_file={pointer}", f"--rest_api_port={rest}"
            ) as (_, server),
            FakeServer(("retrieval", "ranking", "recommender")) as shop,
        ):
            for signatures in shop.signatures.values():
                for inputs in signatures.values():
                    inputs["context_hour"] = (INT64, 1)
            yield Place(
                directory,
                {
                    "127.0.0.1:8500": server.target,
                    "127.0.0.1:8510": server.target,
                    "127.0.0.1:8501": f"127.0.0.1:{rest}",
                    "models-a:8500": shop.target,
                    "models-b:8500": shop.target,
                    "models:8500": shop.target,
                },
            )
    finally:
        os.chdir(before)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    # The test runner owns standard error here.
    monkeypatch.setattr(console, "quiet_native_logs", lambda path: None)
    monkeypatch.setenv("REGISTRY", "registry.example.org")
    # The client's documents call it by the name it is installed under.
    monkeypatch.setitem(sys.modules, "recommender_client", client)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_works(block: Block, place: Place, tmp_path: Path) -> None:
    match block.language:
        case "sh":
            _sketch(tmp_path)
            for command in documents.commands(block.text, tmp_path):
                _check([place.here(word) for word in command])
        case "python":
            _execute(block, place)
        case "toml":
            path = tmp_path / "block.toml"
            path.write_text(block.text)
            configuration.load(path, ())
        case "json":
            json.loads(block.text)
        case "text":  # What something prints, or how folders lie.
            pass
        case _:
            pytest.fail(f"{block} is in {block.language!r}, which no rule has")


@pytest.mark.parametrize(
    "span",
    [one for one in documents.spans() if one.text.startswith(WANTED)],
    ids=lambda span: f"{span}-{span.text}",
)
def test_a_command_in_a_sentence_is_accepted(
    span: Block, tmp_path: Path
) -> None:
    _sketch(tmp_path)
    # `<this>` and `[that]` stand for what the reader has.
    text = re.sub(
        r"[<[](.*?)[]>]", lambda found: found[1].replace(" ", "-"), span.text
    )
    for command in documents.commands(text, tmp_path):
        _check(list(command), run=False)


def test_a_command_that_no_rule_covers_fails(tmp_path: Path) -> None:
    for wrong in (
        "sudo reboot",
        "python -m pipeline retrain --fast",
        "python -m pipeline --set retrieval.epoch=3 retrain",
        "docker build -f Dockerfile.absent .",
    ):
        (command,) = documents.commands(wrong, tmp_path)
        with pytest.raises((AssertionError, SystemExit, ValueError)):
            _check(list(command))
    with pytest.raises(AssertionError):
        documents.commands("make everything", tmp_path)


def _sketch(directory: Path) -> None:
    """As much of a checkout as reading a block takes."""
    beside = [path.name for path in ROOT.glob("requirements*.txt")]
    for name in ("Makefile", "serving", "tests", *beside):
        (directory / name).symlink_to(ROOT / name)
    pointer = directory / "artifacts/serving/models.config"
    pointer.parent.mkdir(parents=True)
    pointer.touch()


def _check(command: list[str], run: bool = True) -> None:
    """Runs a command, or reads it where it cannot run here."""
    program, *arguments = command
    if program == "/usr/bin/time":
        return _check(arguments[1:], run)
    if Path(program).name == "make":
        return None  # What it starts is in the list as well.
    if "python" in program and arguments[:1] == ["-m"]:
        return _module(arguments[1], arguments[2:], run)
    if "python" in program and arguments[:1] == ["-c"]:
        program = sys.executable
    elif program == "grpcurl":
        return _grpcurl(arguments)
    elif program not in REALLY:
        known = program in ONLY_READ or program in PARTS
        assert known, f"no rule covers {program}"
        return _files(command)
    found = subprocess.run([program, *arguments], capture_output=True)
    assert not found.returncode, (command, found.stderr)
    assert b'"error"' not in found.stdout, found.stdout
    return None


def _grpcurl(arguments: list[str]) -> None:
    """What grpcurl would do with the same arguments."""
    plain, option, file, given, data, target, method = arguments
    assert (plain, option, given) == ("-plaintext", "-protoset", "-d")
    answer = protosets.ask(Path(file).read_bytes(), data, target, method)
    assert answer.outputs["item_ids"].string_val


def _files(command: list[str]) -> None:
    """The files that a command names exist in a checkout."""
    for option, name in zip(command, command[1:], strict=False):
        if option in ("-f", "-k", "-c") and not name.startswith("/tmp"):
            assert (ROOT / name).exists(), command


def _module(module: str, arguments: list[str], run: bool) -> None:
    module = module.replace("recommender_client", "serving.client")
    if module not in command_lines.MODULES:
        assert module in ONLY_READ and importlib.util.find_spec(
            module.partition(".")[0]
        ), f"no rule covers python -m {module}"
        return
    parser = command_lines.parser_of(module)
    if "--help" in arguments:
        assert parser.format_help()
        return
    parsed = parser.parse_args(arguments)
    name = f"{module} {getattr(parsed, 'command', '')}".strip()
    for option in ("workers", "items", "replay"):
        if getattr(parsed, option, ""):
            name += f" --{option}"
    if module == "pipeline":
        _valid(parsed)
        run = run and _is_here(parsed)
    if not run or module in ONLY_READ or name in ONLY_READ:
        return
    # All configs here are of one run: once is enough.
    key = f"{module} {vars(parsed) | {'config': ''}}"
    if key in DONE:
        return
    DONE.add(key)
    arguments = [*arguments, *MORE.get(name, [])]
    assert command_lines.main_of(module)(arguments) == 0, arguments
    if name == "pipeline rollback":  # The others ask what was live.
        assert command_lines.main_of(module)(["publish"]) == 0


def _is_here(parsed: argparse.Namespace) -> bool:
    """Whether a command is about the run that is here, as it is."""
    return not parsed.set and "movielens" not in parsed.config


def _valid(parsed: argparse.Namespace) -> None:
    """A config is valid with what is set beside it."""
    path = ROOT / parsed.config
    sample = ROOT / "pipeline/configs/sample.toml"
    configuration.load(path if path.exists() else sample, parsed.set)


def _execute(block: Block, place: Place) -> None:
    names = place.names.setdefault(block.document, {"__name__": "document"})
    code = compile(
        place.here(block.text),
        str(block),
        "exec",
        ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
    )
    if (waiting := eval(code, names)) is not None:
        asyncio.run(waiting)
    if "def recommend(" in block.text:
        assert names["recommend"]("1", ["i1"])
