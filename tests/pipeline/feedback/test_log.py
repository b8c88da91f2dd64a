"""Logged requests: what is read, what is passed over, what is told."""

from pathlib import Path

import pytest

from pipeline.feedback import log as logs
from pipeline.feedback.log import Log
from pipeline.tables.schema import DataError
from serving.prediction_log import records
from tests.support.request_logs import logged, response, write


def test_a_list_is_read_with_who_asked_and_when(tmp_path: Path) -> None:
    answer = response([["b", "a", ""]], [[2.0, 1.0, 0.0]])
    write(tmp_path / "x.tfrecord", [logged("ü1", answer, 77, label="canary")])
    (found,) = Log(str(tmp_path))
    assert (found.model, found.version, found.label, found.seconds) == (
        *("recommender", 1, "canary", 77),
    )
    assert logs.user_ids(found.request) == ["ü1"]
    assert logs.lists(found.response) == [(["b", "a"], [2.0, 1.0])]


def test_files_are_found_by_name_folder_and_pattern(tmp_path: Path) -> None:
    answer = response([["a"]])
    for name in ("one/1.tfrecord", "one/2.tfrecord", "two/3.tfrecord"):
        write(tmp_path / name, [logged(name, answer)])
    (tmp_path / "one/notes.txt").write_text("no log")

    def users(where: str) -> list[str]:
        found = list(Log(str(tmp_path / where)))
        return [logs.user_ids(one.request)[0][-10] for one in found]

    assert users("") == ["1", "2", "3"]
    assert users("one/2.tfrecord") == ["2"]
    assert users("*/[13].tfrecord") == ["1", "3"]


@pytest.mark.parametrize("where", ["", "none", "*.tfrecord"])
def test_without_a_file_it_says_how_to_log(tmp_path: Path, where: str) -> None:
    with pytest.raises(DataError, match="Received.*make log-requests"):
        list(Log(str(tmp_path / where)))


def test_what_is_no_use_is_counted_with_its_place(tmp_path: Path) -> None:
    whole = logged("u", response([["a"]]))
    scores = logged("u", response([["a"]]))
    del scores.predict_log.response.outputs["item_ids"]
    classified = logs.prediction_log_pb2.PredictionLog()
    classified.classify_log.SetInParent()
    path = write(tmp_path / "a.tfrecord", [whole, scores, classified])
    good = path.read_bytes()
    wrong = records.frame(b"\xff\xff not a message")
    path.write_bytes(good + wrong + records.frame(whole.SerializeToString()))
    cut = tmp_path / "b.tfrecord"
    cut.write_bytes(records.frame(whole.SerializeToString())[:-3])
    log = Log(str(tmp_path))
    assert len(list(log)) == 2
    assert log.num_records == 4
    assert log.passed_over == {
        "recommender: serving_default": 1,
        "classify_log": 1,
    }
    places = [(one.path, one.offset) for one in log.broken]
    assert places == [(path, len(good)), (cut, 0)]
    told = "\n".join(log.told())
    assert f"broken: {path}, byte {len(good)}: no PredictionLog" in told
    assert f"broken: {cut}, byte 0: cut off" in told
    assert "no list of items: 1 of recommender: serving_default" in told
