"""The file of an evaluation, of this version and of earlier ones."""

import json
from dataclasses import replace
from pathlib import Path

from pipeline.evaluate.evaluation import Again, Evaluation, Precision, Student
from tests.support import evaluations


def test_what_is_written_is_read(tmp_path: Path) -> None:
    student = Student("int8", "a", "b", {"int8": Precision(*[0.5] * 5)})
    written = replace(evaluations.full(), ondevice=student)
    path = tmp_path / "evaluation.json"
    written.write(path)
    assert Evaluation.read(path) == written
    values = json.loads(path.read_text())
    assert list(values["rows"][0]) == [
        "model",
        "slice",
        "users",
        "mrr",
        "recall@10",
        "ndcg@10",
        "recall@100",
        "ndcg@100",
        "ndcg@10_interval",
        "recall@10_interval",
        "recall@100_interval",
        "coverage@10",
        "pooled_recall@100",
    ]
    # Files of other versions lack some keys and have others.
    for name in ("again", "live", "left_out", "ondevice", "diversity"):
        del values[name]
    del values["rows"][0]["pooled_recall@100"]
    path.write_text(json.dumps(values | {"new": {"key": 1}}))
    older = Evaluation.read(path)
    assert older.rows[1:] == written.rows[1:] and older.again == Again()
