"""When a training may start from the live version, and what it says if not."""

from dataclasses import replace

import pytest

from models.config import RetrievalConfig
from pipeline.retrieval import feed, targets
from pipeline.run.config import Config
from pipeline.warm import carried, start
from pipeline.warm.carried import Carried, Facts
from pipeline.warm.seen import Seen
from serving.releases.history import POINTER, comment
from tests.support.prepared_stub import make_prepared

ROWS = [[2, 3, 4, 5, 6, 7, 8], [9, 8, 7, 6, 5]]
PREPARED = make_prepared(ROWS, 10)


def learned(prepared, which="base"):
    source = feed.Memory(prepared.sequences())
    made = targets.rule(RetrievalConfig(), prepared.split, which, 0, source)
    return {which: targets.blocks(source, made)}


@pytest.fixture
def live(tmp_path):
    """What a version carries of a training on `PREPARED`."""
    config = Config("test", 1, str(tmp_path))
    folder = config.serving_directory / carried.FOLDER / "3"
    folder.mkdir(parents=True)
    (folder / "base.npz").touch()
    Seen.of(PREPARED, learned(PREPARED)["base"]).write(folder / "base.parquet")
    return Carried(3, folder, Facts.of(config, PREPARED, "bow", 6, "b3"))


def test_a_log_that_goes_on_starts_from_it(live):
    config = Config("test", 1)
    grown = make_prepared([*ROWS, [2, 3, 4]], 10)
    found = start.find(live, config, grown, learned(grown))
    assert found.carried is live and found.epochs(6) == 3
    [said] = found.choices("retrieval")
    assert said.value == "version 3"


@pytest.mark.parametrize(
    ("options", "prepared", "why"),
    [
        ({"encoder": "rnn"}, PREPARED, "retrieval.encoder is rnn, was bow"),
        (
            {"embedding_dim": 32},
            PREPARED,
            "retrieval.embedding_dim is 32, was 64",
        ),
        (
            {},
            make_prepared(ROWS, 10, split="temporal"),
            "prepare.split was 'leave_last_out'",
        ),
        (
            {},
            make_prepared([ROWS[0][:-2], ROWS[1]], 10),
            "base of version 3 has learned from 2 interactions that are held "
            "out, validation or test now",
        ),
    ],
)
def test_what_does_not_fit_starts_cold_and_says_why(
    live, options, prepared, why
):
    config = Config("test", 1, retrieval=RetrievalConfig(**options))
    found = start.find(live, config, prepared, learned(prepared))
    assert found.carried is None and why in found.why
    assert found.epochs(6) == 6
    [said] = found.choices("retrieval")
    assert (said.value, said.why) == ("nothing", found.why)


def test_a_random_split_never_has_a_start(live):
    drawn = replace(live.facts, split="random")
    prepared = replace(PREPARED, split="random")
    found = start.find(
        replace(live, facts=drawn), Config("test", 1), prepared, {}
    )
    assert "drawn anew" in found.why


def test_a_release_of_before_has_no_student_to_start_from(live):
    blocks = learned(PREPARED)["base"]
    found = start.find(live, Config("test", 1), PREPARED, {"student": blocks})
    assert found.why == "version 3 carries no student"


def test_nobody_who_did_not_ask_is_told():
    found = start.find(None, Config("test", 1), PREPARED, {})
    assert not found.choices("retrieval") and not found.plain()


def test_what_is_live_is_looked_for(tmp_path, live):
    config = Config("test", 1, str(tmp_path))
    assert carried.find(config) == "nothing is live yet"
    pointer = config.serving_directory / POINTER
    pointer.write_text(comment([4, 3]) + "\n")
    none = "version 4 carries no weights of its training"
    assert carried.find(config) == none
    pointer.write_text(comment([3, 4]) + "\n")
    assert carried.find(config) == none.replace("4", "3")
    (live.directory / "training.json").write_text("{}")
    assert "cannot be read" in carried.find(config)
