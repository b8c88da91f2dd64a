from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from models.config import FeatureSpec
from pipeline.measure import order
from pipeline.run.data import SyntheticSource
from pipeline.sources import films, synthetic
from tests.support.data_cases import prepared
from tests.support.prepared_stub import make_prepared, make_table

SIZES = {"num_users": 300, "num_items": 200, "interactions_per_user": 15}


def sample(**options: object) -> tuple[films.Catalogue, synthetic.Log]:
    source = SyntheticSource(**(SIZES | options))  # type: ignore[arg-type]
    items = films.make(source.num_items, 3, source.planted == "all")
    return items, synthetic.generate(source, items, 3)


def test_titles_differ_and_parts_of_series_carry_numbers() -> None:
    items, _log = sample()
    assert len(set(items.titles)) == 200
    assert all(len(title) >= 8 for title in items.titles)
    sequels = [title for title in items.titles if title.endswith(" II")]
    assert len(sequels) >= 15
    assert {title[:-3] for title in sequels} <= set(items.titles)
    # A series keeps its genres, and its parts appear one after the other.
    for row, title in enumerate(items.titles):
        if title.endswith(" II"):
            first = items.titles.index(title[:-3])
            assert items.followers[first, 0] == row
            assert items.genres[first].tolist() == items.genres[row].tolist()
            assert items.years[first] < items.years[row] or (
                items.years[row] == 2021
            )


def test_large_catalogues_keep_titles_apart() -> None:
    assert len(set(films.make(12_000, 0, True).titles)) == 12_000


def test_nobody_takes_an_item_twice_or_before_its_release() -> None:
    items, log = sample()
    pairs = log.users * 200 + log.items
    assert len(np.unique(pairs)) == len(pairs)
    days = (log.timestamps - synthetic.START) / 86_400
    assert (days >= items.release_days[log.items] - 0.01).all()
    inside = log.users[1:] == log.users[:-1]
    assert (np.diff(log.timestamps)[inside] > 0).all()
    lengths = np.bincount(log.users)
    assert lengths.min() >= 2
    assert lengths.mean() == pytest.approx(15, rel=0.1)


def test_sequels_follow_soon_and_tastes_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(synthetic, "ORDER_STRENGTH", 0.6)
    items, log = sample()
    monkeypatch.setattr(synthetic, "ORDER_STRENGTH", 0.0)
    _items, plain = sample()

    def followed(found: synthetic.Log) -> float:
        inside = found.users[1:] == found.users[:-1]
        after = items.followers[found.items[:-1], 0] == found.items[1:]
        has = items.followers[found.items[:-1], 0] >= 0
        return float(after[inside & has].mean())

    assert followed(log) > 0.2
    # Parts of a series are alike, so some follow each other anyway.
    assert followed(plain) < 0.08
    # Ratings rise with taste, and popularity has a long tail.
    counts = np.sort(np.bincount(plain.items, minlength=200))[::-1]
    assert counts[:20].sum() > counts[-100:].sum()


def test_the_true_distribution_is_the_one_drawn_from() -> None:
    # If it is, an item of place r is taken as often as its probability says:
    # the first place most, and places 0-9 about as often as recall tells on
    # another seed.
    _items, log = sample()
    places = np.bincount(log.best_rank, minlength=200)
    assert places[0] == places.max()
    assert places[:10].sum() > places[10:30].sum()
    source = SyntheticSource(**SIZES)  # type: ignore[arg-type]
    items = films.make(200, 3, True)
    other = synthetic.generate(source, items, 4)
    assert (log.best_rank < 10).mean() == pytest.approx(
        (other.best_rank < 10).mean(), abs=0.04
    )


@pytest.mark.slow
def test_the_sample_is_like_real_logs() -> None:
    # The ends are MovieLens 100K's and 1M's, as `check` says of them.
    source = SyntheticSource()
    items = films.make(source.num_items, 42, True)
    log = synthetic.generate(source, items, 42)
    specs = (FeatureSpec("genres", "multi_categorical", 14, width=2),)
    features = {"genres": np.vstack([np.zeros((2, 2), int), items.genres + 2])}
    features["genres"][features["genres"] == 1] = 0
    found = order.measure(
        make_prepared(
            np.split(log.items + 2, np.flatnonzero(np.diff(log.users)) + 1),
            source.num_items,
            items=make_table(
                "i", source.num_items, 0, specs=specs, features=features
            ),
        )
    )
    real = {1: (0.089, 0.174), 2: (0.074, 0.118), 3: (0.064, 0.098)}
    real |= {5: (0.052, 0.076), 10: (0.038, 0.06)}
    for distance, (low, high) in real.items():
        assert low <= found[f"followers_{distance}"] <= high, distance
    lift = found["repeats_genres"] / found["chance_genres"]
    assert 1.25 <= lift <= 1.88
    counts = np.sort(np.bincount(log.items, minlength=1_200))[::-1]
    assert counts[:120].sum() / counts.sum() == pytest.approx(0.43, abs=0.02)


def test_a_cut_in_time_finds_new_users_and_new_films(tmp_path: Path) -> None:
    source = SyntheticSource(**SIZES)  # type: ignore[arg-type]
    found = prepared(tmp_path / "out", source, split="temporal")
    test = found.summary["parts"]["test"]
    assert 0.05 < test["cold_users_share"] < 0.95
    assert test["cold_items_share"] > 0.0


def test_nothing_planted_leaves_nothing_to_find(tmp_path: Path) -> None:
    _items, log = sample(planted="none")
    # 10 of the 200 minus the few already taken.
    assert (log.best_rank < 10).mean() == pytest.approx(10 / 192, abs=0.015)
    counts = np.bincount(log.items, minlength=200)
    assert counts.std() < 2 * np.sqrt(counts.mean())


def test_the_oracle_is_in_the_summary(tmp_path: Path) -> None:
    source = SyntheticSource(**SIZES)  # type: ignore[arg-type]
    found = prepared(tmp_path / "out", source)
    oracle = found.summary["oracle"]
    assert 0.2 < oracle["recall@10"] < 0.9
    assert oracle["ndcg@10"] < oracle["recall@10"] < oracle["recall@100"]
    assert oracle["targets"] == found.summary["parts"]["test"]["interactions"]


def test_the_oracle_by_hand(tmp_path: Path) -> None:
    from pipeline.prepare import summary

    # Places 0, 1 and 10: two hits of three; gains 1, 1/log2(3) and 0.
    found = summary.oracle(np.array([0, 1, 10]))
    assert found["recall@10"] == pytest.approx(2 / 3)
    assert found["ndcg@10"] == pytest.approx((1 + 0.63093) / 3, abs=1e-5)
    assert found["recall@100"] == 1.0


def test_the_seed_decides_everything(tmp_path: Path) -> None:
    from pipeline import sources

    source = SyntheticSource(**SIZES)  # type: ignore[arg-type]
    tables = {}
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        (tmp_path / name).mkdir()
        written = sources.read(source, seed, tmp_path / name)
        tables[name] = pq.read_table(written.interactions)
    assert tables["one"].equals(tables["same"])
    assert not tables["one"].equals(tables["other"])
