"""What is said of the methods that were measured, and the catalogue."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.bench import index, neighbours
from pipeline.bench.index import Row, Size


def _size(num_items: int, exact: float, ours: float) -> Size:
    def row(
        method: str, setting: str, recall: float, milliseconds: float
    ) -> Row:
        return Row(method, setting, recall, milliseconds, milliseconds, 1.0)

    return Size(
        num_items,
        10.0,
        0.7,
        [
            row("exact", "exact", 1.0, exact),
            row("ours", "4 leaves", 0.8, ours / 2),
            row("ours", "chosen: 8 leaves", 0.96, ours),
            row("faiss", "1 probed", 0.7, 0.01),
            row("faiss", "5 probed", 0.97, 0.3),
            row("faiss", "9 probed", 0.99, 0.4),
        ],
    )


@pytest.mark.parametrize(
    ("exact", "found"),
    [
        ([0.3, 0.4, 0.9], 3_000),
        ([0.3, 0.6, 0.9], 2_000),
        # Once is not enough: it must stay so.
        ([0.9, 0.3, 0.9], 3_000),
        ([0.9, 0.9, 0.3], None),
    ],
)
def test_exact_search_is_left_where_it_takes_twice_as_long(
    exact: list[float], found: int | None
) -> None:
    sizes = [_size(1_000 * (1 + at), ms, 0.25) for at, ms in enumerate(exact)]
    assert index.crossing(sizes) == found


def test_methods_are_compared_at_equal_recall() -> None:
    size = _size(1_000, 0.3, 0.25)
    assert size.ours.recall == 0.96
    assert size.cheapest("faiss", size.ours.recall).setting == "5 probed"
    assert size.cheapest("faiss", 1.0).setting == "9 probed"


def test_a_million_items_are_noted_beside_what_else_was(tmp_path: Path) -> None:
    path = tmp_path / index.MILLION_FILE
    path.write_text('{"train": {"steps": 3}, "index": {"large": {}}}')
    index.million(tmp_path, _size(1_000_000, 9.0, 0.25))
    found = json.loads(path.read_text())
    assert found["train"] == {"steps": 3}
    assert found["index"] == {
        "large": {},
        "num_items": 1_000_000,
        "recall": 0.96,
        "p50_ms": 0.25,
        "exact_p50_ms": 9.0,
        "faiss_p50_ms": 0.3,
        "faiss_recall": 0.97,
        "build_seconds": 10.0,
        "peak_gib": 0.7,
    }


def test_a_catalogue_has_clusters_and_queries_near_its_items() -> None:
    embeddings, queries = neighbours.catalogue(3_000)
    again, _queries = neighbours.catalogue(3_000)
    np.testing.assert_array_equal(embeddings, again)
    assert embeddings.shape == (3_002, neighbours.DIM)
    assert not embeddings[:2].any() and np.all(np.isfinite(embeddings))
    # Among its best there is far more likeness than between any two.
    units = embeddings[2:] / np.linalg.norm(embeddings[2:], axis=1)[:, None]
    best = np.argsort(queries[:20] @ embeddings[2:].T, axis=1)[:, -10:]
    near = np.mean([(units[row] @ units[row].T).mean() for row in best])
    assert near > 0.3 + (units[:500] @ units[-500:].T).mean()
