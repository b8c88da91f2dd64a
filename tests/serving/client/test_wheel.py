"""The client as applications install it: a wheel of its own.

The slow part makes an empty environment for each Python there is, with the
oldest and the newest libraries that the wheel permits.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from serving.client import RecommenderClient
from tests.support.fake_server import INT64, FakeServer

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ASK = """
import asyncio, sys, threading
import recommender_client as rc

target = sys.argv[1]
with rc.RecommenderClient(target, metadata={"tenant": "t"}) as client:
    answer = client.recommend(rc.Query("u1", ["i19"]), k=2)
    assert answer.item_ids == ("i11", "i12"), answer
    assert answer.degraded is rc.Degraded.NOTHING
    assert str(rc.Degraded.RANKING_UNAVAILABLE) == "ranking unavailable"
    assert f"{rc.Degraded.RANKING_UNAVAILABLE:>20}" == " ranking unavailable"
    try:
        client.recommend(rc.Query(features={"aeg": 3}))
    except rc.InvalidRequest as error:
        assert "Did you mean 'age'" in str(error), error
    else:
        raise AssertionError("not refused")
    try:
        client.retrieve("u1")
    except rc.ServingError as error:
        assert "must be a recommender_client.Query" in str(error), error

async def ask():
    async with rc.AsyncRecommenderClient(target) as client:
        both = await asyncio.gather(
            client.retrieve(rc.Query(), k=1), client.similar_items("i19", k=1)
        )
    assert [one.item_ids for one in both] == [("i19",), ("i18",)], both

asyncio.run(ask())
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"serving", "tensorflow", "models", "pipeline"}, loaded
assert rc.__file__.startswith(sys.argv[2]), rc.__file__
print("answered")
"""


def run(*command, **options):
    """Runs a command away from the checkout; returns what it printed."""
    env = {
        key: value for key, value in os.environ.items() if key != "PYTHONPATH"
    }
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env=env,
        **options,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built as `pip wheel .` does, from a copy and with no network."""
    work = tmp_path_factory.mktemp("wheel")
    source = work / "source"
    source.mkdir()
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(
        ROOT / "serving",
        source / "serving",
        ignore=shutil.ignore_patterns("node_modules", "__pycache__"),
    )
    run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
        *("--no-build-isolation", "--wheel-dir", work, source),
    )
    (found,) = work.glob("*.whl")
    return found


def test_the_wheel_holds_one_package_and_its_types(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        sources = {
            name: archive.read(name).decode()
            for name in names
            if name.endswith((".py", ".pyi"))
        }

    version = PROJECT["version"]
    assert {name.partition("/")[0] for name in names} == {
        "recommender_client",
        f"recommender_client-{version}.dist-info",
    }
    assert "recommender_client/py.typed" in names
    assert "recommender_client/wire/serving_pb2.pyi" in names
    for name, text in sources.items():
        assert not re.search(r"(import|from) serving\b", text), name
        assert "serving.client" not in text, name


def test_the_wheel_answers_where_no_checkout_is(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    with FakeServer() as server:
        program = f"import sys; sys.path.insert(0, sys.argv[2])\n{ASK}"
        asked = (server.target, tmp_path)
        found = run(sys.executable, "-c", program, *asked, cwd=tmp_path)
        shell = "recommender_client", "status", "--target", server.target
        table = run(sys.executable, "-m", *shell, cwd=tmp_path)

    assert found == "answered\n"
    assert "AVAILABLE" in table


def interpreter(version):
    """Returns the command of a Python that works, or skips."""
    found = shutil.which(f"python{version}")
    if (
        found
        and not subprocess.run([found, "-V"], capture_output=True).returncode
    ):
        return found
    pytest.skip(f"no python{version} here")


def empty(interpreter, directory):
    """Makes an environment with nothing in it; its Python, a pip for it."""
    run(interpreter, "-m", "venv", "--without-pip", directory)
    python = directory / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    return python, (*pip, "--quiet", "--python", python)


def oldest(version):
    """Pins the wheel's lower bounds; NumPy for 3.13 is younger than ours."""
    pins = [spec.partition(",")[0] for spec in PROJECT["dependencies"]]
    return [
        "numpy==2.1.0"
        if pin.startswith("numpy") and version == "3.13"
        else pin.replace(">=", "==")
        for pin in pins
    ]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """The embedded server on SavedModels of both stages; its address."""
    from tests.serving.client import test_servers
    from tests.support import toy_models

    exported, served = (tmp_path_factory.mktemp(name) for name in "es")
    toy_models.export(exported, 1)
    server = test_servers.Process(
        test_servers.repository(served, exported, ["retrieval", "ranking"])
    )
    try:
        with RecommenderClient(server.target) as client:
            server.wait(client)
        yield server.target
    finally:
        server.stop()


CALLER = """
from recommender_client import Degraded, Items, Query, RecommenderClient

with RecommenderClient("models:8500") as client:
    one: Items = client.retrieve(Query(history=["1"]), k=3)
    several: list[Items] = client.retrieve([Query()])
    lacks: Degraded = client.recommend(Query(excluded_ids={"1"})).degraded
    client.recommend("u1")
"""


@pytest.mark.slow
def test_a_type_checker_knows_the_answers(wheel, tmp_path):
    python, pip = empty(sys.executable, tmp_path / "venv")
    run(*pip, "install", "--no-deps", wheel)
    (tmp_path / "caller.py").write_text(CALLER)
    check = (sys.executable, "-m", "mypy", "--strict", "caller.py")
    found = subprocess.run(
        [*check, "--python-executable", python, "--python-version", "3.10"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )

    # One mistake was made, in the last line; untyped, it would not be seen.
    errors = [line for line in found.stdout.splitlines() if "error:" in line]
    assert len(errors) == 1, found.stdout + found.stderr
    assert errors[0].startswith("caller.py:8: "), errors


@pytest.mark.slow
@pytest.mark.parametrize("libraries", ["oldest", "newest"])
@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_an_empty_environment_asks_a_server(
    wheel, embedded, tmp_path, version, libraries
):
    python, pip = empty(interpreter(version), tmp_path / "venv")
    pins = oldest(version) if libraries == "oldest" else []
    run(*pip, "install", "--no-compile", wheel, *pins)
    asked = (embedded, tmp_path)
    found = run(python, "-W", "error", "-c", ASK, *asked, cwd=tmp_path)
    shell = "recommender_client", "smoke", "--target", embedded
    report = run(python, "-m", *shell, cwd=tmp_path)

    assert found == "answered\n"
    assert "recommend  ok" in report


def test_the_manuals_first_example_runs(tmp_path, monkeypatch):
    manual = (ROOT / "serving" / "client" / "README.md").read_text()
    example = manual.split("```python\n")[1].split("```")[0]
    (tmp_path / "popular.json").write_text('["i1"]')
    monkeypatch.chdir(tmp_path)
    with FakeServer() as server:
        for signatures in server.signatures.values():
            for name, takes in signatures.items():
                signatures[name] = takes | {"context_hour": (INT64, 1)}
        program = example.replace("recommender_client", "serving.client")
        for address in ("models-a:8500", "models-b:8500"):
            assert address in program
            program = program.replace(address, server.target)
        # The example's deadline is for a quiet machine.
        program = program.replace("=0.2", "=5").replace("=0.1", "=5")
        names = {}
        exec(compile(program, "README.md", "exec"), names)
        answer = names["recommend"]("u1", ["i19"])
        names["client"].close()

    assert answer[:2] == ("i11", "i12")
    _, signature, inputs = server.requests[0]
    assert signature == "with_exclusions"
    assert inputs["context_hour"].tolist() == [7]
