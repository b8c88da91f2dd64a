"""Ids on command lines: one rule in all of them, commas in ids included."""

import csv
import io
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import __main__ as pipeline_command
from serving import ids
from serving.client import InvalidRequest
from serving.client import __main__ as client_command
from serving.ondevice import __main__ as device_command
from tests.support.fake_server import CATALOGUE, FakeServer
from tests.support.prepared_stub import make_prepared, make_table

COMMAS = ["Apples, kind 1", 'the "b"', "c"]
LINE = '"Apples, kind 1", "the ""b""",c'


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["C"]), min_size=1),
        min_size=1,
    )
)
def test_what_a_csv_writer_writes_is_read_back(items):
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL).writerow(items)

    assert ids.written([line.getvalue().rstrip("\r\n")], "--history") == items


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ([], []),
        ([""], []),
        (["50,181"], ["50", "181"]),
        ([" 50, 181 ,,"], ["50", "181"]),
        (["50", "181"], ["50", "181"]),
        ([LINE], COMMAS),
        ([LINE, "50"], [*COMMAS, "50"]),
        (['" spaced " , a b'], [" spaced ", "a b"]),
        (["it's,5\"x"], ["it's", '5"x']),
    ],
)
def test_ids_stand_between_commas(texts, found):
    assert ids.written(texts, "--history") == found


@pytest.mark.parametrize("wrong", ['"b,c', '"b"c', '"'])
def test_an_open_quote_is_named(wrong):
    with pytest.raises(InvalidRequest, match="--exclude must be ids"):
        ids.written(["a", wrong], "--exclude")


def test_the_clients_command_line(capsys):
    with FakeServer() as server:
        asked = ["retrieve", "--target", server.target]
        assert not client_command.main(
            [*asked, "--history", LINE, "--history", "d", "--exclude", '"e,f"']
        )
        assert client_command.main([*asked, "--history", '"a']) == 2

    _, _, inputs = server.requests[-1]
    assert inputs["history"].tolist() == [
        [*(item.encode() for item in COMMAS), b"d"]
    ]
    assert inputs["excluded_ids"].tolist() == [[b"e,f"]]
    assert "error: --history must be ids" in capsys.readouterr().err


@pytest.fixture
def stubbed(monkeypatch, tmp_path):
    """The pipeline's command line over a catalogue whose ids have commas."""
    catalogue = [*COMMAS, *CATALOGUE]
    items = make_table("i", len(catalogue), len(catalogue))
    items.ids[2:] = np.array(catalogue, object)
    prepared = make_prepared([[2, 3, 4]], len(catalogue), items=items)
    config = SimpleNamespace(
        name="stub", run_directory=tmp_path, serving_directory=tmp_path
    )
    monkeypatch.setattr(
        pipeline_command.configuration, "load", lambda *_: config
    )
    monkeypatch.setattr(
        pipeline_command.console, "quiet_native_logs", lambda _: None
    )
    monkeypatch.setattr(
        pipeline_command,
        "Run",
        lambda *_, **__: SimpleNamespace(prepared=lambda: prepared),
    )


def test_the_pipelines_command_line(stubbed, capsys):
    with FakeServer() as server:
        asked = ["recommend", "--target", server.target, "--history"]
        assert pipeline_command.main([*asked, LINE]) == 0
        # Who forgets the quotes is shown them.
        assert pipeline_command.main([*asked, "Apples, kind 1"]) == 1

    _, _, inputs = server.requests[-1]
    assert [item.decode() for item in inputs["history"][0]] == COMMAS
    assert "Is it 'Apples, kind 1'? Write" in capsys.readouterr().err


def test_the_devices_command_line(monkeypatch, capsys):
    asked = []

    class Bundle:
        def __init__(self, folder):
            pass

        def knows(self, item):
            return True

        def recommend(self, history, excluded):
            asked.append((history, excluded))
            return []

    monkeypatch.setattr(device_command, "OnDevice", Bundle)

    arguments = ["--bundle", "b", "--history", LINE, "--exclude", '"e,f"']
    assert device_command.main(["recommend", *arguments]) == 0
    assert asked == [(COMMAS, ["e,f"])]
