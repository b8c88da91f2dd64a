"""A new item is found by what it is like: planted truth, and its control."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from models.config import RankingConfig, RetrievalConfig
from pipeline.export import step as export
from pipeline.items.changes import Catalogue
from pipeline.retrieval import index
from pipeline.run.config import Config
from pipeline.run.data import PrepareConfig, TabularSource
from pipeline.run.release import IndexConfig
from pipeline.steps import Run
from pipeline.tables import prepared as tables
from serving import signatures
from tests.support import catalogues

KINDS, ITEMS, USERS, TAKEN = "abcd", 12, 160, 8
NEW = {"like a": "a", "like d": "d", "like none": ""}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Every user takes items of one kind alone, in any order."""
    folder = tmp_path_factory.mktemp("planted")
    rng = np.random.default_rng(0)
    log = [
        {
            "user_id": f"u{user}",
            "item_id": f"{KINDS[user % 4]}{item}",
            "timestamp": str(1_700_000_000 + 60 * (place * USERS + user)),
        }
        for user in range(USERS)
        for place, item in enumerate(rng.choice(ITEMS, TAKEN, replace=False))
    ]
    listed = [
        {"item_id": f"{kind}{item}", "kind": kind}
        for kind in KINDS
        for item in range(ITEMS)
    ]
    made = Run(
        Config(
            name="planted",
            seed=1,
            artifacts=str(folder / "artifacts"),
            source=TabularSource(
                path=catalogues.write(folder / "log.csv", log),
                items_path=catalogues.write(folder / "items.csv", listed),
                item_features={"kind": "categorical"},
            ),
            prepare=PrepareConfig(split="leave_last_out"),
            retrieval=RetrievalConfig(
                encoder="bow",
                embedding_dim=8,
                history_length=8,
                batch_positions=128,
                epochs=8,
                ids=(),
            ),
            index=IndexConfig(num_candidates=16),
            ranking=RankingConfig(epochs=2),
        )
    )
    made.train_ranking()
    return made


@pytest.mark.slow
def test_users_of_a_kind_get_the_new_item_of_their_kind(
    run: Run, tmp_path: Path
) -> None:
    config, trained = run.config, run.prepared()
    ids = [str(id_) for id_ in trained.items.ids[2:]] + list(NEW)
    kinds = [NEW.get(id_, id_[0]) for id_ in ids]
    file = pa.table({"item_id": ids, "kind": [kind or None for kind in kinds]})
    now = Catalogue.updated(trained, file)
    now.write(trained, tmp_path / "prepare")
    prepared = tables.load(tmp_path / "prepare")
    steps = {
        name: config.run_directory / name
        for name in ("train-retrieval", "train-ranking")
    }
    (tmp_path / "index").mkdir()
    index.run(config, prepared, steps["train-retrieval"], tmp_path / "index")
    made = export.build(config, prepared, steps | {"index": tmp_path / "index"})
    retrieval, ranking = made[signatures.RETRIEVAL], made[signatures.RANKING]
    histories = [
        [f"{kind}{item}" for item in items]
        for kind in KINDS
        for items in ((0, 1, 2), (5, 3, 8), (11, 4, 7), (9, 10, 6))
    ]
    asked = retrieval.inputs.encode(
        {
            "history": tf.constant(histories),
            "user_id": tf.constant([""] * len(histories)),
        }
    )
    _scores, candidates = retrieval.search(asked, {}, retrieval.embed(asked))
    _best, places = ranking.order(asked, candidates, 10)
    first_ten = tf.gather(candidates, places, batch_dims=1)
    found = retrieval.inputs.ids(candidates).numpy()
    shown = retrieval.inputs.ids(first_ten).numpy()
    for item, kind in NEW.items():
        has = (found == item.encode()).any(axis=1)
        told = (shown == item.encode()).any(axis=1)
        mine = np.array([history[0][0] == kind for history in histories])
        assert not told[~mine].any(), item
        if kind:
            # Nine known ones are left of a kind: there is room for one.
            assert has[mine].all() and told[mine].mean() >= 0.75
