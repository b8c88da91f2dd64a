"""Training that updates only the rows it reads: as good, and no larger."""

import numpy as np
import pytest
import tensorflow as tf

from models import retrieval
from models.config import RetrievalConfig
from models.towers import CandidateInputs
from pipeline.retrieval import fit
from pipeline.retrieval.watch import Averages
from pipeline.run import auto
from tests.pipeline.retrieval.test_train import NUM_ITEMS, make_walks, trained
from tests.support.prepared_stub import make_prepared

ROWS = 7919
BATCH = {
    "history": np.array([[0, 2, 3], [4, 5, 2]], np.int32),
    "user_index": np.array([2, 3], np.int32),
    "user_features": {},
    "row": np.array([0, 0, 1, 1], np.int32),
    "state": np.array([0, 1, 1, 2], np.int32),
    "target": np.array([2, 4, 5, 6], np.int32),
    "weight": np.ones(4, np.float32),
    "context": {},
    "moment": np.zeros(4, np.int32),
}


def sized(step):
    """Operations of a traced step whose results grow with the tables."""
    return {
        operation.type
        for operation in step.graph.get_operations()
        for output in operation.outputs
        # Placeholders stand for what is there already.
        if operation.type != "Placeholder"
        and output.shape.rank
        and ROWS in output.shape.as_list()
    }


def traced(is_lazy):
    options = RetrievalConfig(
        encoder="bow",
        embedding_dim=4,
        history_length=3,
        loss="in_batch",
        ids=("item", "user", "history"),
    )
    counts = np.r_[0.0, 0.0, np.ones(ROWS - 2)]
    now = np.zeros([ROWS, 2], np.float32)
    inputs = CandidateInputs({}, (), ROWS, counts, now)
    trends = np.zeros([3, ROWS, 2], np.float32)
    model = retrieval.build(options, inputs, (), (), ROWS, trends)
    names = {table.name for table in model.tables}
    assert len(names) == 4
    tables = model.tables if is_lazy else ()
    model.compile(optimizer=fit.optimizer(options, 10, tables))
    model.optimizer.build(model.trainable_variables)
    Averages(model, 0.9, model.optimizer if is_lazy else None)
    batch = tf.nest.map_structure(tf.constant, BATCH)
    return tf.function(model.train_step).get_concrete_function(batch)


def test_a_lazy_step_makes_nothing_of_the_size_of_a_table():
    assert sized(traced(is_lazy=True)) == set()
    # The negative control: a dense step goes over whole tables.
    assert {"ReadVariableOp", "Sub"} <= sized(traced(is_lazy=False))


@pytest.mark.slow
def test_lazy_training_learns_what_dense_training_does(
    tmp_path_factory, monkeypatch
):
    walks = make_prepared(make_walks(), NUM_ITEMS)
    curves = []
    for limit in (auto.DENSE_UP_TO, 0):
        monkeypatch.setattr(auto, "DENSE_UP_TO", limit)
        directory = tmp_path_factory.mktemp("trained")
        _, metrics = trained(
            walks,
            directory,
            encoder="bow",
            loss="in_batch",
            ids=("item", "history"),
            epochs=3,
            batch_positions=64,
        )
        curves.append(metrics["base"]["curve"])
    dense, lazy = curves
    assert dense != lazy
    for name, atol in (("loss", 0.01), ("ndcg@100", 0.02)):
        np.testing.assert_allclose(
            [row[name] for row in lazy],
            [row[name] for row in dense],
            atol=atol,
        )
