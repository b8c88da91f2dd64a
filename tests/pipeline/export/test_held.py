"""One server has the tables of a release once, whatever models it serves."""

import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from pipeline.export import step
from pipeline.run import auto
from pipeline.steps import Run
from serving import signatures
from serving.errors import ServingError
from serving.server.answers import predict
from serving.server.lifecycle.loader import Loader
from serving.server.runtime.bundle import Bundle
from serving.server.telemetry.metrics import Metrics

pytestmark = pytest.mark.slow
OTHERS = ("retrieval", "retrieval_exact", "ranking")


@pytest.fixture(scope="module")
def held(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle as one of a large catalogue is."""
    steps = {
        name: tiny_run.config.run_directory / name
        for name in ("train-retrieval", "index", "train-ranking")
    }
    directory = tmp_path_factory.mktemp("held")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auto, "HELD_ABOVE", 0)
        step.run(tiny_run.config, tiny_run.prepared(), steps, directory)
    return directory


@pytest.fixture
def published(held: Path, tmp_path: Path) -> Path:
    """Version 1 of each model, as a release has them."""
    for name in signatures.BUNDLE:
        shutil.copytree(held / name, tmp_path / name / "1")
    return tmp_path


def loader(*served: str) -> Loader:
    load = Loader(predict.Limits(), Metrics(), warmup_iterations=0)
    load.is_served = lambda name: name in served
    return load


def answers(bundle: Bundle) -> list[bytes]:
    """To the model's own warm-up requests."""
    extra = bundle.directory / signatures.EXTRA_ASSETS
    path = str(extra / signatures.WARMUP_REQUESTS)
    found = []
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        request = log.predict_log.request
        answer = predict.run(bundle, request, None, None, predict.Limits())
        found.append(answer.SerializeToString(deterministic=True))
    return found


def test_models_of_a_release_run_on_the_fused_one(published: Path) -> None:
    alone = loader()
    expected = {}
    for name in signatures.BUNDLE:
        bundle = alone(name, published / name / "1")
        expected[name] = answers(bundle)
        bundle.close()
    for name in OTHERS:
        shutil.rmtree(published / name / "1" / "variables")
    # Without the fused model nothing holds what is gone.
    with pytest.raises(ServingError):
        loader("ranking")("ranking", published / "ranking" / "1")

    load = loader(*signatures.BUNDLE)
    loaded = {
        name: load(name, published / name / "1") for name in signatures.BUNDLE
    }
    for name, bundle in loaded.items():
        assert answers(bundle) == expected[name]
    for name in OTHERS:
        contract = set(signatures.SIGNATURES[name])
        assert set(loaded[name].signature_defs) == contract
    # Each goes by itself; what is held stays for those that are left.
    for name in ("recommender", "retrieval", "retrieval_exact"):
        loaded[name].close()
    assert answers(loaded["ranking"]) == expected["ranking"]
    loaded["ranking"].close()
    again = load("ranking", published / "ranking" / "1")
    assert answers(again) == expected["ranking"]
    again.close()


def test_what_another_bundle_holds_is_not_used(published: Path) -> None:
    path = published / "ranking" / "1" / signatures.EXTRA_ASSETS
    manifest = path / "manifest.json"
    manifest.write_text(manifest.read_text().replace("bundle_id", "other"))
    shutil.rmtree(published / "ranking" / "1" / "variables")
    with pytest.raises(ServingError):
        loader(*signatures.BUNDLE)("ranking", published / "ranking" / "1")


def test_a_broken_fused_model_breaks_no_other(published: Path) -> None:
    shutil.rmtree(published / "recommender" / "1" / "variables")
    load = loader(*signatures.BUNDLE)
    with pytest.raises(ServingError):
        load("recommender", published / "recommender" / "1")
    bundle = load("ranking", published / "ranking" / "1")
    assert answers(bundle)
    bundle.close()


def test_a_small_release_holds_nothing(exports: Path, tmp_path: Path) -> None:
    for name in signatures.BUNDLE:
        shutil.copytree(exports / name, tmp_path / name / "1")
    shutil.rmtree(tmp_path / "recommender" / "1" / "variables")
    bundle = loader(*signatures.BUNDLE)("ranking", tmp_path / "ranking" / "1")
    assert answers(bundle)
    bundle.close()
