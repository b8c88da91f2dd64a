"""The client's command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from serving.client import __main__ as command
from tests.support.fake_server import FakeServer


@pytest.fixture
def server():
    with FakeServer() as found:
        yield found


@pytest.fixture
def ask(server, capsys):
    def run(*arguments):
        status = command.main([*arguments, "--target", server.target])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_recommend_prints_a_table_with_titles(ask, tmp_path):
    (tmp_path / "titles.tsv").write_text("i11\tEleven\ni12\tTwelve\n")

    status, out, _ = ask(
        *("recommend", "--history", "i19", "-k", "2"),
        *("--titles", str(tmp_path / "titles.tsv")),
    )

    assert status == 0
    lines = out.splitlines()
    assert lines[0].split() == ["#", "item", "title", "score"]
    assert lines[2].split() == ["1", "i11", "Eleven", "-11.0000"]
    assert lines[3].split() == ["2", "i12", "Twelve", "-12.0000"]
    assert "version 1" in lines[4] and "retrieval" in lines[4]


def test_json_is_for_machines(ask, tmp_path):
    (tmp_path / "titles.json").write_text('{"i18": "Eighteen"}')

    status, out, _ = ask(
        *("retrieve", "--history", "i19", "-k", "1", "--json"),
        *("--titles", str(tmp_path / "titles.json")),
    )

    found = json.loads(out)
    assert status == 0
    assert found["item_ids"] == ["i18"]
    assert found["titles"] == ["Eighteen"]
    assert found["version"] == 1


def test_rank_and_similar(ask):
    assert "i1 " in ask("rank", "i2", "i1")[1].splitlines()[2]
    assert "rating" in ask("rank", "i2", "i1", "--in-order")[1]
    assert "i18" in ask("similar", "i19", "-k", "1")[1]


def test_features_are_json_or_text(ask, server):
    ask("retrieve", "--feature", "age=30", "--feature", "country=se")

    _, _, inputs = server.requests[-1]
    assert inputs["age"].tolist() == [30.0]
    assert inputs["country"].tolist() == [b"se"]


def test_status_lists_models(ask):
    assert ask("status")[1].splitlines()[2].split() == [
        "retrieval",
        "1",
        "AVAILABLE",
    ]


def test_status_of_a_model_that_no_server_knows_is_an_error(ask):
    assert ask("status", "retrieval")[0] == 0
    status, out, err = ask("status", "retrieval", "retreival")
    assert (status, out) == (2, "")
    assert "retreival (from the command line)" in err


def test_a_degraded_answer_says_so_and_exits_with_one(ask, server):
    server.faults["ranking"] = "INTERNAL"

    status, out, _ = ask("recommend")

    assert status == 1
    assert "DEGRADED: ranking unavailable" in out


def test_an_error_is_one_message_and_exits_with_two(ask):
    status, out, err = ask("retrieve", "--feature", "aeg=1")

    assert (status, out) == (2, "")
    assert err.startswith("error: A feature must be one that 'retrieval'")
    assert len(err.splitlines()) == 1


def test_smoke_says_what_works(ask, server):
    status, out, _ = ask("smoke")

    assert status == 0
    assert "available: retrieval 1, ranking 1" in out

    server.faults["ranking"] = "INTERNAL"
    status, out, _ = ask("smoke")
    assert status == 1
    assert "FAIL" in out


def test_smoke_fails_without_a_server(capsys):
    status = command.main(
        ["smoke", "--target", "127.0.0.1:1", "--timeout", "0.3"]
    )

    assert status == 2
    assert "A server must answer" in capsys.readouterr().err


def test_bench_measures(ask):
    status, out, _ = ask("bench", "--seconds", "0.2", "--rate", "20", "--json")

    assert status == 0
    assert [row["loop"] for row in json.loads(out)] == ["closed", "open"]


def test_models_may_have_targets_of_their_own():
    assert command._targets(["ranking=a:1", "*=b:2", "*=c:3"]) == {
        "ranking": ["a:1"],
        "*": ["b:2", "c:3"],
    }


def test_the_module_runs_from_a_shell(server):
    run = subprocess.run(
        [
            *(sys.executable, "-m", "serving.client", "status"),
            *("--target", server.target),
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )

    assert run.returncode == 0, run.stderr
    assert "AVAILABLE" in run.stdout
