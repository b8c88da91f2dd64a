"""Versions of one release answer together, others never wait."""

import json
import threading
import time
from pathlib import Path

import pytest

from serving.server.lifecycle.manager import Manager
from serving.server.lifecycle.states import State
from tests.support.scripted_loads import Loads, paths, states
from tests.support.waiting import eventually


def released(directory: Path, number: int, bundle: str) -> dict[int, Path]:
    """A version whose manifest names the release that it is part of."""
    path = directory / bundle / str(number)
    manifest = path / "assets.extra" / "manifest.json"
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"bundle_id": bundle}))
    return {number: path}


@pytest.fixture
def two(manager: Manager, loads: Loads) -> Manager:
    """Serves version 1 of `a` and `b`; version 2 of `b` loads slowly."""
    loads.gates["b", 2] = threading.Event()
    for name in ("a", "b"):
        manager.want(name, paths(1))
    manager.wait_for({"a", "b"})
    return manager


def numbers(manager: Manager) -> list[int]:
    found = [manager.acquire(name, None) for name in ("a", "b")]
    for version in found:
        version.release()
    return [version.number for version in found]


def test_the_versions_of_one_release_answer_together(
    two: Manager, loads: Loads, tmp_path: Path
) -> None:
    version = released(tmp_path, 2, "x")
    for name in ("a", "b"):
        two.want(name, version)
    eventually(lambda: "load a/2" in loads.journal)
    time.sleep(0.1)
    assert numbers(two) == [1, 1]
    assert states(two, "a")[2] == State.LOADING
    loads.gates["b", 2].set()
    eventually(lambda: numbers(two) == [2, 2])


@pytest.mark.parametrize("bundles", [("", ""), ("x", ""), ("x", "y")])
def test_models_of_no_common_release_do_not_wait_for_each_other(
    two: Manager, loads: Loads, tmp_path: Path, bundles: tuple[str, str]
) -> None:
    for name, bundle in zip(("b", "a"), reversed(bundles), strict=True):
        two.want(name, released(tmp_path, 2, bundle) if bundle else paths(2))
    eventually(lambda: numbers(two) == [2, 1])
    assert states(two, "b")[2] == State.LOADING
    loads.gates["b", 2].set()


def test_who_began_with_the_old_version_can_end_with_it(
    two: Manager, loads: Loads, tmp_path: Path
) -> None:
    loads.gates["b", 2].set()
    version = released(tmp_path, 2, "x")
    for name in ("a", "b"):
        two.want(name, version)
    eventually(lambda: numbers(two) == [2, 2])
    two.acquire("a", 1).release()
    eventually(lambda: states(two, "a")[1] == State.END)


def test_a_release_does_not_wait_for_what_is_broken(
    two: Manager, loads: Loads, tmp_path: Path
) -> None:
    loads.broken.add(("b", 2))
    loads.gates["b", 2].set()
    version = released(tmp_path, 2, "x")
    for name in ("a", "b"):
        two.want(name, version)
    eventually(lambda: numbers(two) == [2, 1])


def test_lower_versions_of_several_models_do_not_wait_for_each_other(
    manager: Manager,
) -> None:
    start = time.monotonic()
    for name in ("a", "b"):
        manager.want(name, paths(1, 2, 3, 4))
    assert manager.wait_for({"a", "b"}) == {}
    assert time.monotonic() - start < 5
    for name in ("a", "b"):
        found = states(manager, name)
        assert found == dict.fromkeys((1, 2, 3, 4), State.AVAILABLE)


def test_a_lower_version_that_is_broken_is_not_waited_for(
    loads: Loads,
) -> None:
    loads.broken.add(("m", 1))
    manager = Manager(loads, 5, 60.0)
    manager.want("m", paths(1, 2))
    assert manager.wait_for({"m"}) == {}
    assert loads.journal.count("load m/1") == 1
    manager.stop(0)


def test_the_highest_version_decides_whether_a_model_came_up(
    manager: Manager, loads: Loads
) -> None:
    loads.broken.add(("m", 2))
    manager.want("m", paths(1, 2))
    assert list(manager.wait_for({"m"})) == [("m", 2)]


def test_a_version_does_not_wait_for_one_that_came_earlier(
    two: Manager, loads: Loads, tmp_path: Path
) -> None:
    two.want("b", released(tmp_path, 2, "x"))
    time.sleep(0.4)
    two.want("a", released(tmp_path, 2, "x"))
    eventually(lambda: numbers(two) == [2, 1])
    loads.gates["b", 2].set()
