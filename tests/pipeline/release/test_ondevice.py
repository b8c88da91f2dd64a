"""What is published is whole, versioned, and says how good it is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.evaluate import ondevice as ondevice_evaluate
from pipeline.measure.metrics import Ragged
from pipeline.ondevice import bundle as ondevice_bundle
from pipeline.release import ondevice as ondevice_release
from serving.errors import ServingError
from serving.ondevice import bundle as ondevice
from tests.serving.ondevice.test_bundle import make, names

PRECISIONS = {
    "float32": {"bytes": 900, "ndcg@10": 0.1000},
    "float16": {"bytes": 500, "ndcg@10": 0.0995},
    "int8": {"bytes": 300, "ndcg@10": 0.0980},
}


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("exports")
    ondevice_bundle.write(
        make(),
        names(),
        names(),
        directory / "int8",
        "int8",
        facts={"server_bundle_id": "feed", "run": "tiny"},
    )
    return directory


def evaluation(exports: Path) -> dict[str, Any]:
    measured = {
        name: row
        | {
            "latency_us": 12.0,
            "agreement@10_float32": 0.9,
            "agreement@10_teacher": 0.5,
        }
        for name, row in PRECISIONS.items()
    }
    row = {"slice": "all", "ndcg@10_interval": [0.1, 0.2], "recall@10": 0.3}
    return {
        "dataset": "tiny",
        "split": "temporal",
        "part": "test",
        "queries": 50,
        "rows": [
            row | {"model": "two_stage", "ndcg@10": 0.2},
            row | {"model": "student", "ndcg@10": 0.15},
        ],
        "ondevice": {
            "precision": "int8",
            "bundle_id": ondevice_release.bundle_id(exports / "int8"),
            "precisions": measured,
        },
    }


def test_a_release_replays_and_describes_itself(
    exports: Path, tmp_path: Path
) -> None:
    version = tmp_path / "ondevice" / "3"
    ondevice_release.place(exports, evaluation(exports), version)
    bundle = ondevice.OnDevice(version)
    assert bundle.replay() > 5
    assert bundle.config["version"] == 3
    assert bundle.config["server_bundle_id"] == "feed"
    assert [path.name for path in version.parent.iterdir()] == ["3"]
    card = (version / "README.md").read_text()
    assert "75% of the two-stage" in card
    assert "| int8 (this file) | 300 | 12 | 0.0980 | 0.900 | 0.500 |" in card


def test_a_release_that_fails_leaves_no_version(
    exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise OSError("no space")

    monkeypatch.setattr(ondevice_release, "card", fail)
    version = tmp_path / "ondevice" / "3"
    with pytest.raises(OSError, match="no space"):
        ondevice_release.place(exports, evaluation(exports), version)
    assert not version.exists()


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
    exports: Path,
) -> None:
    results = evaluation(exports)
    assert ondevice_release.obstacles(results, exports) == []
    results["ondevice"]["bundle_id"] = "other"
    (reason,) = ondevice_release.obstacles(results, exports)
    assert "must be of the staged student" in reason


def test_the_smallest_file_that_loses_little_is_chosen() -> None:
    assert ondevice_evaluate.choose(PRECISIONS, "auto") == "float16"
    good = PRECISIONS | {"int8": {"bytes": 300, "ndcg@10": 0.0991}}
    assert ondevice_evaluate.choose(good, "auto") == "int8"
    assert ondevice_evaluate.choose(good, "float32") == "float32"


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
