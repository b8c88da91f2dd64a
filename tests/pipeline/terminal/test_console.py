"""What a run says while it works."""

import io

import pytest

from pipeline.terminal import console
from pipeline.terminal.console import Detail, Progress

LINES = ["train: running", "  epoch 1 of 2", "  epoch 2 of 2", "train: done"]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def said(detail: Detail, stream: io.StringIO) -> str:
    progress = Progress(detail, stream)
    for line in LINES:
        progress(line)
    return stream.getvalue()


def test_a_log_has_one_line_a_step() -> None:
    text = said(Detail.STEPS, io.StringIO())
    assert text.count("\n") == 1 and text.endswith("train: done\n")


def test_a_log_of_a_long_step_shows_that_it_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter(range(0, 1000, 61))
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    assert said(Detail.STEPS, io.StringIO()).count("\n") == len(LINES)


def test_on_a_screen_details_take_each_others_place() -> None:
    text = said(Detail.STEPS, Screen())
    assert [part.split("] ")[1] for part in text.split("\r\033[K")] == [
        *LINES[:-1],
        "train: done\n",
    ]


def test_everything_and_nothing() -> None:
    assert said(Detail.ALL, io.StringIO()).count("\n") == len(LINES)
    assert said(Detail.QUIET, Screen()) == ""
