"""Loads that fail and wait as told, and what a manager made of them."""

import threading
from pathlib import Path

from serving.errors import ServingError
from serving.server.lifecycle.manager import Manager
from serving.server.lifecycle.states import State

WAIT_SECONDS = 10


class Loaded:
    def __init__(self, journal: list[str], name: str) -> None:
        self.journal = journal
        self.name = name

    def close(self) -> None:
        self.journal.append(f"close {self.name}")


class Loads:
    """Loads by script: numbers in `broken` fail, those in `gates` wait."""

    def __init__(self) -> None:
        self.journal: list[str] = []
        self.broken: set[tuple[str, int]] = set()
        self.gates: dict[tuple[str, int], threading.Event] = {}

    def __call__(self, name: str, path: Path) -> Loaded:
        number = int(path.name)
        self.journal.append(f"load {name}/{number}")
        if (name, number) in self.gates:
            assert self.gates[name, number].wait(WAIT_SECONDS)
        if (name, number) in self.broken:
            raise ServingError("its graph is broken", "DATA_LOSS")
        return Loaded(self.journal, f"{name}/{number}")


def paths(*numbers: int) -> dict[int, Path]:
    return {number: Path(f"/absent/{number}") for number in numbers}


def states(manager: Manager, name: str = "m") -> dict[int, State]:
    return {
        number: status.state
        for number, status in manager.statuses(name).items()
    }
