"""What is published is whole, versioned, and says how good it is."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluate import ondevice as ondevice_evaluate
from pipeline.evaluate.evaluation import Evaluation, Precision, Student
from pipeline.ondevice import bundle as ondevice_bundle
from pipeline.release import ondevice as ondevice_release
from pipeline.tables.ragged import Ragged
from serving.errors import ServingError
from serving.ondevice import bundle as ondevice
from tests.serving.ondevice.test_bundle import make, names
from tests.support import evaluations

PRECISIONS = {
    "float32": Precision(900, 12.0, 0.1000, 0.9, 0.5),
    "float16": Precision(500, 12.0, 0.0995, 0.9, 0.5),
    "int8": Precision(300, 12.0, 0.0980, 0.9, 0.5),
}


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("exports")
    ondevice_bundle.write(
        make(),
        ondevice_bundle.Catalogue(names(), names()),
        directory / "int8",
        "int8",
        facts={"server_bundle_id": "feed", "run": "tiny"},
    )
    return directory


@pytest.fixture
def evaluation(exports: Path) -> Evaluation:
    student = Student(
        "int8",
        str(ondevice_release.bundle_id(exports / "int8")),
        "feed",
        PRECISIONS,
    )
    return replace(evaluations.made(student=0.15), ondevice=student)


def test_a_release_replays_and_describes_itself(
    exports: Path, evaluation: Evaluation, tmp_path: Path
) -> None:
    shutil.copytree(exports / "int8", tmp_path / "3")
    ondevice_release.describe(tmp_path / "3", 3, evaluation)
    bundle = ondevice.OnDevice(tmp_path / "3")
    assert bundle.replay() > 5
    assert bundle.config["version"] == 3
    assert bundle.config["server_bundle_id"] == "feed"
    assert bundle.config["quality"]["int8"] == {
        "bytes": 300,
        "latency_us": 12.0,
        "ndcg@10": 0.098,
        "agreement@10_float32": 0.9,
        "agreement@10_teacher": 0.5,
    }
    card = (tmp_path / "3" / "README.md").read_text()
    assert "75% of the two-stage" in card
    assert "| student | 0.1500 | 0.1500 | 0.1000 - 0.2000 |" in card
    assert "| int8 (this file) | 300 | 12 | 0.0980 | 0.900 | 0.500 |" in card


def test_the_pointer_of_the_servers_names_the_live_bundle(
    tmp_path: Path,
) -> None:
    with pytest.raises(ServingError, match="must be published or named"):
        ondevice.live(tmp_path)
    pointer = tmp_path / "models.config"
    pointer.write_text("# releases, live first: 4 2\n")
    assert ondevice.live(tmp_path) == tmp_path / "ondevice" / "4"
    pointer.write_text("# releases, live first: 2\n")
    assert ondevice.live(tmp_path) == tmp_path / "ondevice" / "2"


def test_another_student_than_the_evaluated_one_is_refused(
    exports: Path, evaluation: Evaluation
) -> None:
    assert evaluation.ondevice is not None
    assert ondevice_release.obstacles(evaluation.ondevice, exports) == []
    other = replace(evaluation.ondevice, bundle_id="other")
    (reason,) = ondevice_release.obstacles(other, exports)
    assert "must be of the staged student" in reason


def test_what_the_model_no_longer_reads_is_not_recommended(
    exports: Path,
) -> None:
    bundle = ondevice.OnDevice(exports / "int8")
    long = np.arange(2, 40, dtype=np.int32)
    scores, items = ondevice_evaluate.answer(bundle, Ragged.of([long]))
    shown = items[0][items[0] > 0]
    assert len(shown) and not set(shown) & set(long.tolist())
    assert np.all(np.isinf(scores[0, len(shown) :]))


def test_agreement_counts_what_is_shared() -> None:
    none = np.zeros((1, 10), np.float32)
    one = none, np.arange(2, 12)[None]
    other = none, np.arange(7, 17)[None]
    assert ondevice_evaluate.agreement(one, one) == 1.0
    assert ondevice_evaluate.agreement(one, other) == 0.5


def test_replay_forgives_rounding_and_nothing_else(
    exports: Path, tmp_path: Path
) -> None:
    bundle = ondevice.OnDevice(exports / "int8")
    golden = json.loads((exports / "int8" / ondevice.GOLDEN).read_text())
    case, tolerance = golden["cases"][3], golden["tolerance"]
    ids, scores = case["ids"], case["scores"]
    agree = ondevice._agree
    assert agree(ids, scores, case, tolerance)
    close = [score + tolerance / 2 for score in scores]
    assert agree(ids, close, case, tolerance)
    assert not agree(ids[::-1], scores, case, tolerance)
    assert not agree([*ids[1:], 1], scores, case, tolerance)
    assert bundle.config["num_recommendations"] == len(ids)
