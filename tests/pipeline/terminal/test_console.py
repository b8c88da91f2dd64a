"""What a run says while it works."""

import dataclasses
import io
import json

import numpy as np
import pytest

from pipeline.terminal import console
from pipeline.terminal.console import Detail, Progress
from tests.support.prepared_stub import make_prepared

LINES = ["train: running", "  epoch 1 of 2", "  epoch 2 of 2", "train: done"]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def said(detail: Detail, stream: io.StringIO) -> str:
    progress = Progress(detail, stream)
    for line in LINES:
        progress(line)
    return stream.getvalue()


def test_a_title_is_no_markup() -> None:
    rows = [["a column of some width"], ["[b]"]]
    shown = console.text(console.table("[deleted] [/b]", rows))
    assert "[deleted] [/b]" in shown and "[b]" in shown


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
        "train: running",
        "train: epoch 1 of 2",
        "train: epoch 2 of 2",
        "train: done\n",
    ]


def test_a_dumb_terminal_gets_what_a_log_gets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert "\033" not in said(Detail.STEPS, Screen())


def test_what_interrupts_a_step_stands_on_a_line_of_its_own() -> None:
    screen = Screen()
    progress = Progress(Detail.STEPS, screen)
    progress("train: running")
    progress.close()
    progress.close()
    assert screen.getvalue().endswith("train: running\n")


def test_an_answer_is_text_or_one_document(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer = console.Answer("two films", {"films": ["Amélie", "Ran"]})
    console.say(answer, as_json=False)
    assert capsys.readouterr().out == "two films\n"
    console.say(answer, as_json=True)
    assert json.loads(capsys.readouterr().out) == answer.data


def test_everything_and_nothing() -> None:
    assert said(Detail.ALL, io.StringIO()).count("\n") == len(LINES)
    assert said(Detail.QUIET, Screen()) == ""


def test_what_to_do_next_names_the_config_and_ids_that_exist() -> None:
    made = make_prepared([[2, 3, 4]], 4)
    ids = np.array(["", "", "a b", "i$1", "x-7", "ü", "9.5"], object)
    odd = dataclasses.replace(
        made, items=dataclasses.replace(made.items, ids=ids)
    )
    said = console.next_commands(odd, "my orders.toml", ["seed=1"])
    assert (
        "make recommend CONFIG='my orders.toml' SET=seed=1 HISTORY=x-7,9.5 "
        in said
    )
    assert "movielens" not in said
    # The config that make takes anyway is not named; no id need be plain.
    none = dataclasses.replace(
        made, items=dataclasses.replace(made.items, ids=ids[:4])
    )
    said = console.next_commands(none, console.SAMPLE, [])
    assert "make recommend    #" in said and "movielens" in said
