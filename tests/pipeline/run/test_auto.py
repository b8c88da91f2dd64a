"""What the data decide where a config leaves it open."""

from types import SimpleNamespace

import numpy as np
import pytest

from models.config import RetrievalConfig
from pipeline.run import auto
from pipeline.run.release import IndexConfig


def test_small_catalogues_take_the_full_softmax() -> None:
    options = RetrievalConfig()
    assert auto.loss(options, auto.FULL_SOFTMAX_UP_TO, 1).value == "full"
    more = auto.loss(options, auto.FULL_SOFTMAX_UP_TO + 1, 1)
    assert more.value == "in_batch"
    assert str(more).startswith("retrieval.loss = in_batch: 20,001 items")


def test_many_targets_are_sampled_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for work, expected in ((80, "full"), (79, "in_batch")):
        monkeypatch.setattr(auto, "FULL_WORK", work)
        assert auto.loss(RetrievalConfig(), 5, 16).value == expected
    chosen = auto.loss(RetrievalConfig(loss="full"), 5, 16)
    # Nothing was decided, so nothing is said.
    assert (chosen.value, chosen.why) == ("full", "")


def test_the_better_encoder_is_taken_and_the_first_of_equals() -> None:
    options = RetrievalConfig()
    assert auto.encoders(options, 1000) == ["bow", "attention"]
    assert auto.encoders(options, 10**6) == ["attention"]
    assert auto.encoder(options, {"bow": 0.1, "attention": 0.1}).value == "bow"
    chosen = auto.encoder(options, {"bow": 0.1, "attention": 0.2})
    assert chosen.value == "attention"
    assert "bow 0.1000, attention 0.2000" in chosen.why


def test_large_catalogues_take_scann() -> None:
    for size, kind in ((9_999, "exact"), (10_000, "scann")):
        assert auto.index_kind(IndexConfig(), size).value == kind
    assert auto.index_kind(IndexConfig(kind="scann"), 5).value == "scann"


def test_the_smallest_file_that_is_as_good_is_published() -> None:
    found = {
        name: SimpleNamespace(bytes=size, ndcg_at_10=worth)
        for name, size, worth in (
            ("float32", 40, 0.100),
            ("float16", 20, 0.0995),
            ("int8", 10, 0.098),
        )
    }
    assert auto.precision("auto", found).value == "float16"
    assert auto.precision("int8", found).value == "int8"
    found["int8"].ndcg_at_10 = 0.0991
    assert auto.precision("auto", found).value == "int8"


def test_large_tables_are_updated_by_row() -> None:
    few, many = [10, auto.DENSE_UP_TO], [10, auto.DENSE_UP_TO + 1]
    assert not auto.lazy_rows("in_batch", few, 1).value
    chosen = auto.lazy_rows("in_batch", many, 1)
    assert chosen.value
    assert "100,001 rows in the largest table of ids" in str(chosen)
    assert not auto.lazy_rows("full", many, 1).value
    assert "2 copies" in auto.lazy_rows("in_batch", many, 2).why


def test_caps_of_large_catalogues_are_said_and_of_small_ones_not() -> None:
    for decide, most, limit in (
        (auto.neighbours, 100, 160_000),
        (auto.validation_users, 5_000, 400_000),
        (auto.lists, 50_000, 400_000),
        (auto.tuning_users, 1_000, 250_000),
    ):
        small, large = decide(limit), decide(4 * limit)
        assert (small.value, small.why) == (most, "")
        assert large.value == most // 4
        assert f"{4 * limit:,} items" in large.why
        assert decide(10**9).value >= 1


def test_long_histories_pair_by_their_newest_items(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lengths = np.array([1, 4, 10])
    monkeypatch.setattr(auto, "DENSE_UP_TO", 50)
    for pairs, kept in ((117, 0), (116, 9), (33, 4), (32, 3), (1, 1)):
        monkeypatch.setattr(auto, "_PAIRS", pairs)
        assert auto.knn_history(51, lengths).value == kept, pairs
        assert auto.knn_history(50, lengths).value == 0
    assert auto.knn_history(51, np.zeros(0, int)).value == 0
