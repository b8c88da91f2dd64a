import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.errors import ServingError
from serving.server.lifecycle.manager import Manager
from serving.server.lifecycle.states import State, Status
from tests.support.scripted_loads import Loaded, Loads, paths, states
from tests.support.waiting import eventually


def test_a_wanted_version_answers(manager: Manager) -> None:
    manager.want("m", paths(3))
    assert manager.wait_for({"m"}) == {}
    version = manager.acquire("m", None)
    assert (version.model, version.number) == ("m", 3)
    version.release()
    assert states(manager) == {3: State.AVAILABLE}


@pytest.mark.parametrize(
    ("name", "number", "message"),
    [
        ("x", None, "Servable not found for request: Latest(x)"),
        ("m", 99, "Servable not found for request: Specific(m, 99)"),
        ("m", 0, "Servable not found for request: Specific(m, 0)"),
    ],
)
def test_what_is_not_loaded_is_not_found(
    manager: Manager, name: str, number: int | None, message: str
) -> None:
    manager.want("m", paths(1))
    manager.wait_for({"m"})
    with pytest.raises(ServingError) as caught:
        manager.acquire(name, number)
    assert (str(caught.value), caught.value.code) == (message, "NOT_FOUND")


def test_the_highest_ready_version_is_the_latest(
    manager: Manager, loads: Loads
) -> None:
    loads.gates["m", 10] = threading.Event()
    manager.want("m", paths(9))
    manager.wait_for({"m"})
    manager.want("m", paths(9, 10))
    eventually(lambda: states(manager).get(10) == State.LOADING)
    assert manager.acquire("m", None).number == 9
    loads.gates["m", 10].set()
    eventually(lambda: states(manager)[10] == State.AVAILABLE)
    assert manager.acquire("m", None).number == 10


def test_a_new_version_is_loaded_before_the_old_one_goes(
    manager: Manager, loads: Loads
) -> None:
    manager.want("m", paths(1))
    manager.wait_for({"m"})
    manager.want("m", paths(2))
    eventually(lambda: states(manager) == {2: State.AVAILABLE, 1: State.END})
    assert loads.journal == ["load m/1", "load m/2", "close m/1"]


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority")
def test_freeing_a_version_gives_way_to_requests(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def close(_: Loaded) -> None:
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    monkeypatch.setattr(Loaded, "close", close)
    here = os.getpriority(os.PRIO_PROCESS, 0)
    manager.want("m", paths(1))
    manager.wait_for({"m"})
    manager.want("m", {})
    eventually(lambda: found == [max(here, 10)])
    assert os.getpriority(os.PRIO_PROCESS, 0) == here


def test_a_broken_version_leaves_the_old_one_serving(
    manager: Manager, loads: Loads
) -> None:
    loads.broken.add(("m", 2))
    manager.want("m", paths(1))
    manager.wait_for({"m"})
    manager.want("m", paths(2))
    eventually(lambda: states(manager).get(2) == State.END)
    assert manager.statuses("m") == {
        2: Status(State.END, "DATA_LOSS", "its graph is broken"),
        1: Status(State.AVAILABLE),
    }
    assert manager.acquire("m", None).number == 1
    # Polls repeat what is wanted; that alone does not load it again.
    manager.want("m", paths(2))
    time.sleep(0.05)
    assert loads.journal == ["load m/1", "load m/2"]


def test_a_broken_version_gets_another_chance_when_it_changes(
    manager: Manager, loads: Loads, tmp_path: Path
) -> None:
    loads.broken.add(("m", 1))
    manager.want("m", {1: tmp_path / "1"})
    eventually(lambda: states(manager).get(1) == State.END)
    loads.broken.clear()
    (tmp_path / "1").mkdir()
    manager.want("m", {1: tmp_path / "1"})
    assert manager.wait_for({"m"}) == {}


def test_requests_in_flight_finish_on_their_version(
    manager: Manager, loads: Loads
) -> None:
    manager.want("m", paths(1))
    manager.wait_for({"m"})
    held = manager.acquire("m", None)
    manager.want("m", paths(2))
    eventually(lambda: states(manager).get(1) == State.UNLOADING)
    # The next version does not wait for it.
    manager.want("m", paths(3))
    eventually(lambda: states(manager).get(3) == State.AVAILABLE)
    assert "close m/1" not in loads.journal
    held.release()
    eventually(lambda: states(manager)[1] == State.END)
    assert "close m/1" in loads.journal


def test_nothing_wanted_unloads_everything(manager: Manager) -> None:
    manager.want("m", paths(1, 2))
    eventually(
        lambda: states(manager) == dict.fromkeys((2, 1), State.AVAILABLE)
    )
    manager.want("m", {})
    eventually(lambda: states(manager) == dict.fromkeys((2, 1), State.END))
    with pytest.raises(ServingError, match="Latest"):
        manager.acquire("m", None)


def test_what_nobody_wants_stops_at_once_though_another_version_loads(
    manager: Manager, loads: Loads
) -> None:
    manager.want("m", paths(1))
    manager.wait_for({"m"})
    loads.gates["m", 2] = threading.Event()
    manager.want("m", paths(2))
    eventually(lambda: "load m/2" in loads.journal)
    manager.want("m", {})
    with pytest.raises(ServingError, match="Latest"):
        manager.acquire("m", None)
    eventually(lambda: states(manager)[1] == State.END)
    assert loads.journal.count("close m/1") == 1
    loads.gates["m", 2].set()
    eventually(lambda: states(manager)[2] == State.END)


def test_an_unloaded_version_can_come_back(manager: Manager) -> None:
    manager.want("m", paths(1))
    manager.wait_for({"m"})
    manager.want("m", {})
    manager.want("m", paths(1))
    eventually(lambda: states(manager) == {1: State.AVAILABLE})
    assert manager.acquire("m", 1).number == 1


def test_one_model_never_waits_for_another(
    manager: Manager, loads: Loads
) -> None:
    loads.gates["stuck", 1] = threading.Event()
    manager.want("stuck", paths(1))
    eventually(lambda: states(manager, "stuck") == {1: State.LOADING})
    manager.want("m", paths(1))
    assert manager.wait_for({"m"}) == {}
    loads.gates["stuck", 1].set()


def test_loads_are_retried(loads: Loads) -> None:
    manager = Manager(loads, 2, 0.01)
    loads.broken.add(("m", 1))
    manager.want("m", paths(1))
    failed = manager.wait_for({"m"})
    assert failed == {
        ("m", 1): Status(State.END, "DATA_LOSS", "its graph is broken")
    }
    assert loads.journal == ["load m/1"] * 3
    manager.stop(1.0)


def test_a_newer_version_does_not_wait_for_retries(loads: Loads) -> None:
    manager = Manager(loads, 5, 60.0)
    loads.broken.add(("m", 1))
    manager.want("m", paths(1))
    eventually(lambda: loads.journal == ["load m/1"])
    manager.want("m", paths(2))
    assert manager.wait_for({"m"}) == {}
    assert states(manager) == {2: State.AVAILABLE, 1: State.END}
    manager.stop(1.0)


def test_a_wait_can_be_given_up(manager: Manager) -> None:
    with pytest.raises(ServingError) as caught:
        manager.wait_for({"m"}, lambda: True)
    assert caught.value.code == "DEADLINE_EXCEEDED"


def test_an_unexpected_failure_is_a_failed_load(loads: Loads) -> None:
    def load(name: str, path: Path) -> Loaded:
        raise KeyError("surprise")

    manager = Manager(load, 0)
    manager.want("m", paths(1))
    ((_, status),) = manager.wait_for({"m"}).items()
    assert (status.state, status.code) == (State.END, "UNKNOWN")
    manager.stop(1.0)


def test_swaps_under_load_lose_nothing(manager: Manager) -> None:
    manager.want("m", paths(1))
    manager.wait_for({"m"})
    stop = threading.Event()
    failures: list[Exception] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                version = manager.acquire("m", None)
                if version.servable is None:
                    failures.append(AssertionError("answered unloaded"))
                version.release()
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(2, 52):
        manager.want("m", paths(number))
        eventually(_serves(manager, number))
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []


def _serves(manager: Manager, number: int) -> Callable[[], bool]:
    return lambda: states(manager).get(number) == State.AVAILABLE
