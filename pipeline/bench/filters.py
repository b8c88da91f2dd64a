"""What filters cost and find: recall and latency by how many items pass.

A catalogue as `neighbours` generates it is indexed as a run indexes it; single
queries are asked without filters and with one that some share of the items
passes, in turn. The truth is NumPy's, over the items that pass.

Leaves the figures in `artifacts/bench/filter.json`.
"""

import argparse
import itertools
import logging
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from models.config import FIRST_ITEM
from models.layers import filters
from pipeline.bench import index as catalogues
from pipeline.bench import neighbours
from pipeline.measure import timing
from pipeline.retrieval import index as retrieval_index
from pipeline.run import manifest

logger = logging.getLogger(__name__)
RESULT = Path("artifacts/bench/filter.json")
SHARES = (1.0, 0.5, 0.1, 0.01, 0.001)
_NUM_ITEMS = 200_000
_QUERIES, _ROUNDS = 50, 200


def run(num_items: int, path: Path) -> list[dict[str, float]]:
    """Measures and writes a row a share.

    Args:
        num_items: Size of the catalogue; ScaNN needs a few hundred.
        path: Where the rows go.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        catalogues.build(Path(scratch), num_items)
        place = catalogues.scratch(Path(scratch), num_items)
        index = retrieval_index.load(catalogues.OPTIONS, place)
    embeddings, queries = neighbours.catalogue(num_items)
    queries = queries[:_QUERIES]
    random = np.random.default_rng(0)
    rows = np.arange(FIRST_ITEM, num_items + FIRST_ITEM, dtype=np.int32)
    items = [
        np.sort(random.choice(rows, int(share * num_items), replace=False))
        for share in SHARES
    ]
    values = np.repeat(np.arange(len(items)), [len(found) for found in items])
    feature = filters.FeatureValues(
        np.concatenate(items), values.astype(np.int32), len(items)
    )
    ask = _asked(filters.FilteredIndex(index, [feature]))
    found = [
        {
            "selectivity": share,
            "recall": _recall(ask, embeddings, queries, passing, value),
        }
        for value, (share, passing) in enumerate(
            zip(SHARES, items, strict=True), filters.FIRST_VALUE
        )
    ]
    asked = itertools.cycle(queries)
    calls: dict[str, Callable[[], object]] = {
        str(value): lambda value=value: ask(next(asked), value)  # type: ignore
        for value in (filters.NOT_GIVEN, *range(2, 2 + len(SHARES)))
    }
    taken = timing.medians(calls, _ROUNDS)
    plain = taken.pop(str(filters.NOT_GIVEN))
    for row, microseconds in zip(found, taken.values(), strict=True):
        row["p50_ms"] = round(microseconds / 1e3, 3)
        row["times_unfiltered"] = round(microseconds / plain, 2)
    figures = {"items": num_items, "unfiltered_p50_ms": round(plain / 1e3, 3)}
    manifest.write_json(path, figures | {"filter": found})
    return found


def _asked(
    index: filters.FilteredIndex,
) -> Callable[[np.ndarray, int], np.ndarray]:
    """One query, and the value that items must have, to item indices."""
    call = tf.function(
        index.__call__,
        input_signature=[
            tf.TensorSpec([None, neighbours.DIM], tf.float32),
            *[tf.TensorSpec([None, None], tf.int32)] * 2,
            tf.TensorSpec([None], tf.int32),
        ],
    )
    none = np.zeros((1, 1), np.int32)

    def ask(query: np.ndarray, value: int) -> np.ndarray:
        allowed = np.full((1, 1), value, np.int32)
        found: np.ndarray = call(query[None], none, allowed, none[0])[1].numpy()
        return found[0]

    return ask


def _recall(
    ask: Callable[[np.ndarray, int], np.ndarray],
    embeddings: np.ndarray,
    queries: np.ndarray,
    passing: np.ndarray,
    value: int,
) -> float:
    shares = []
    for query in queries:
        scores = embeddings[passing] @ query
        truth = set(passing[np.argsort(-scores)[: neighbours.K]])
        shares.append(len(truth & set(ask(query, value))) / len(truth))
    return round(float(np.mean(shares)), 4)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark by the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.bench.filters",
        description=__doc__.partition("\n")[0],
    )
    parser.add_argument(
        "--items", type=int, default=_NUM_ITEMS, help="of the catalogue"
    )
    for row in run(parser.parse_args(arguments).items, RESULT):
        logger.info("bench-filter: %s", row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
