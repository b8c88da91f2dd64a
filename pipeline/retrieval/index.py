"""Builds the nearest-neighbour index and tunes it to a recall floor.

Enters: a trained retrieval model. Leaves, in the step's directory:
`embeddings.npy` `[num_items + 2, embedding_dim]`, `index.json` (what was
chosen and the whole recall/latency frontier) and, for ScaNN, `searcher-0.npz`
and so on, one a shard.

Exact search is the truth that recall is measured against, and the choice for
small catalogues: one matrix product beats a tree there.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from models import index as search
from models.config import FIRST_ITEM
from pipeline.measure import requests
from pipeline.retrieval import train
from pipeline.run import auto, manifest, seeds
from pipeline.run.config import Config
from pipeline.run.release import IndexConfig
from pipeline.tables import past
from pipeline.tables.prepared import Prepared
from pipeline.tables.ragged import Ragged
from pipeline.tables.schema import VALIDATION, DataError

EMBEDDINGS = "embeddings.npy"
REPORT = "index.json"
_SEARCHER = "searcher-{}.npz"
# Below this ScaNN cannot train its codebooks.
_SCANN_MINIMUM = 1_000
_SHOWN = 5
# Queries the recall is measured on.
_TUNING_QUERIES = 500


def run(
    config: Config,
    prepared: Prepared,
    retrieval: Path,
    directory: Path,
    shards: Sequence[Path] = (),
) -> dict[str, Any]:
    """Embeds the catalogue, builds, tunes and saves the index.

    Args:
        config: The `index` section decides.
        prepared: The prepared tables.
        retrieval: Directory of the train-retrieval step.
        directory: Where to write.
        shards: What `run_shard` wrote, all of it; none embeds here.

    Returns:
        The report, as saved in `index.json`.

    Raises:
        DataError: If ScaNN is asked for on too small a catalogue, or an
            embedding is not finite.
    """
    model = train.load(config, prepared, retrieval)
    searchers = None
    if shards:
        embeddings = np.concatenate(
            [np.load(shard / EMBEDDINGS) for shard in shards]
        )
        searchers = _searchers(shards)
    else:
        embeddings = model.candidate_embeddings()
    _check(embeddings, prepared.items.ids)
    queries = _queries(config, prepared, model)
    report, searchers = build(embeddings, queries, config.index, searchers)
    save(embeddings, report, searchers, directory)
    return report


def run_shard(
    config: Config,
    prepared: Prepared,
    retrieval: Path,
    directory: Path,
    shard: int,
    num_shards: int,
) -> int:
    """Embeds and indexes one slice of the catalogue, for `run` to merge.

    Args:
        config: The `index` section decides.
        prepared: The prepared tables.
        retrieval: Directory of the train-retrieval step.
        directory: Where to write.
        shard: Which slice, counted from 0.
        num_shards: Slices in all.

    Returns:
        The slice's items.

    Raises:
        DataError: If there are more slices than items.
    """
    num_items = len(prepared.items.ids) - FIRST_ITEM
    if num_shards > num_items:
        raise DataError(
            "Every shard must have an item. Received: "
            f"{num_shards} shards of {num_items} items (from --shard)."
        )
    bounds = FIRST_ITEM + np.arange(num_shards + 1) * num_items // (num_shards)
    first, stop = int(bounds[shard]), int(bounds[shard + 1])
    model = train.load(config, prepared, retrieval)
    # The first slice carries the rows of padding and unknown items.
    embeddings = model.candidate_embeddings(
        first=first if shard else 0, stop=stop
    )
    _check(embeddings, prepared.items.ids[first if shard else 0 : stop])
    np.save(directory / EMBEDDINGS, embeddings)
    size = stop - first
    is_scann = auto.index_kind(config.index, num_items).value == "scann"
    if is_scann and size >= _SCANN_MINIMUM:
        searcher = search.build_searcher(
            embeddings[-size:], config.index.num_candidates, _num_leaves(size)
        )
        _save_searcher(searcher, directory / _SEARCHER.format(0))
    return size


def _check(embeddings: np.ndarray, ids: Sequence[str] | np.ndarray) -> None:
    """Names items whose embeddings cannot be compared."""
    rows = search.unusable(embeddings)
    if len(rows):
        named = [repr(str(ids[row])) for row in rows[:_SHOWN]]
        raise DataError(
            "The embedding of every item must be finite. Received: "
            f"{len(rows)} of {len(embeddings)} that are not, of "
            f"{', '.join(named)}{', ...' if len(rows) > _SHOWN else ''}. "
            "Training diverged, or these items' features are not numbers: "
            "lower [retrieval] learning_rate, or correct the features."
        )


def _searchers(shards: Sequence[Path]) -> list[list[np.ndarray]] | None:
    """Those of the shards, or None where a shard is too small for one."""
    paths = [shard / _SEARCHER.format(0) for shard in shards]
    if not all(path.exists() for path in paths):
        return None
    return [_load_searcher(path) for path in paths]


def _num_leaves(num_items: int) -> int:
    return int(np.sqrt(num_items))


def save(
    embeddings: np.ndarray,
    report: dict[str, Any],
    searchers: list[list[np.ndarray]] | None,
    directory: Path,
) -> None:
    """Writes what `build` made of `embeddings` for `load`."""
    np.save(directory / EMBEDDINGS, embeddings)
    for number, searcher in enumerate(searchers or ()):
        _save_searcher(searcher, directory / _SEARCHER.format(number))
    manifest.write_json(directory / REPORT, report)


def _save_searcher(searcher: list[np.ndarray], path: Path) -> None:
    # Some tensors are strings, which NumPy would have to pickle.
    protos = [tf.make_tensor_proto(tensor) for tensor in searcher]
    np.savez(
        path,
        *(
            np.frombuffer(proto.SerializeToString(), np.uint8)
            for proto in protos
        ),
    )


def _load_searcher(path: Path) -> list[np.ndarray]:
    with np.load(path) as saved:
        return [
            tf.make_ndarray(TensorProto.FromString(saved[name].tobytes()))
            for name in saved.files
        ]


def load(
    config: IndexConfig, directory: Path
) -> search.ExactIndex | search.ScannIndex:
    """The index a step directory holds."""
    report = json.loads((directory / REPORT).read_text(encoding="utf-8"))
    embeddings = np.load(directory / EMBEDDINGS)
    if report["kind"] == "exact":
        return search.ExactIndex(embeddings, config.num_candidates)
    chosen = report["chosen"]
    return search.ScannIndex(
        embeddings,
        config.num_candidates,
        [
            _load_searcher(directory / _SEARCHER.format(number))
            for number in range(len(report["shards"]))
        ],
        report["shards"],
        chosen["num_leaves_to_search"],
        chosen["num_reordering_candidates"],
    )


def build(
    embeddings: np.ndarray,
    queries: np.ndarray,
    config: IndexConfig,
    searchers: list[list[np.ndarray]] | None = None,
) -> tuple[dict[str, Any], list[list[np.ndarray]] | None]:
    """Chooses an index by the config and measures it.

    Args:
        embeddings: `[num_items + 2, embedding_dim]`.
        queries: `[num_queries, embedding_dim]` to measure recall with.
        config: Kind, list length and recall floor.
        searchers: Of equal slices of the items, to be merged; None builds
            one over all of them.

    Returns:
        The report, and the tensors of the ScaNN searchers if there are any.

    Raises:
        DataError: If ScaNN is asked for on too small a catalogue.
    """
    num_items = len(embeddings) - FIRST_ITEM
    exact = search.ExactIndex(embeddings, config.num_candidates)
    truth = _answers(exact.__call__, queries)
    k = exact.k
    report: dict[str, Any] = {
        "kind": "exact",
        "num_items": num_items,
        "num_candidates": k,
        f"recall@{k}": 1.0,
        "latency_ms": _latency_ms(exact, queries),
    }
    if auto.index_kind(config, num_items).value == "exact":
        report["frontier"] = []
        return report, None
    if num_items < _SCANN_MINIMUM:
        raise DataError(
            f"A ScaNN index needs at least {_SCANN_MINIMUM} items. Received: "
            f"{num_items} (from [index] kind = {config.kind!r}). Set it to "
            "'exact', which is faster at this size."
        )
    if searchers is None:
        searchers = [
            search.build_searcher(
                embeddings[FIRST_ITEM:],
                config.num_candidates,
                _num_leaves(num_items),
            )
        ]
    sizes = np.diff(
        np.arange(len(searchers) + 1) * num_items // len(searchers)
    ).tolist()
    num_leaves = _num_leaves(min(sizes))
    frontier = []
    for leaves, reordering in _settings(num_leaves, k):
        index = search.ScannIndex(
            embeddings,
            config.num_candidates,
            searchers,
            sizes,
            leaves,
            reordering,
        )
        # Without the exact search behind it, which would hide lists that
        # visit too few leaves to be filled.
        answers = _answers(index.approximate, queries)
        recall = np.mean(
            [
                len(set(a) & set(b) - {0}) / k
                for a, b in zip(answers, truth, strict=True)
            ]
        )
        frontier.append(
            {
                "num_leaves_to_search": leaves,
                "num_reordering_candidates": reordering,
                f"recall@{k}": round(float(recall), 4),
                "latency_ms": _latency_ms(index, queries),
            }
        )
        # The settings go from cheap to thorough; recall decides, not the
        # clock, so that the same data always give the same index.
        if recall >= config.recall_floor:
            break
    best = max(frontier, key=lambda point: point[f"recall@{k}"])
    report |= {
        "kind": "scann",
        "shards": sizes,
        "num_leaves": num_leaves,
        "chosen": best,
        "exact_latency_ms": report["latency_ms"],
        f"recall@{k}": best[f"recall@{k}"],
        "latency_ms": best["latency_ms"],
        "meets_recall_floor": best[f"recall@{k}"] >= config.recall_floor,
        "frontier": frontier,
    }
    return report, searchers


def _settings(num_leaves: int, k: int) -> list[tuple[int, int]]:
    shares = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
    leaves = [max(1, round(share * num_leaves)) for share in shares]
    return [
        (n, m * k) for n, m in zip(leaves, (2, 3, 4, 5, 6, 8, 8), strict=True)
    ]


def _answers(find: Callable, queries: np.ndarray) -> np.ndarray:
    seen = np.zeros((1, 1), np.int32)
    call = tf.function(find)
    return np.concatenate(
        [call(query[None], seen)[1].numpy() for query in queries]
    )


def _latency_ms(
    index: search.ExactIndex | search.ScannIndex, queries: np.ndarray
) -> float:
    """Median of single queries, milliseconds."""
    seen = np.zeros((1, 1), np.int32)
    call = tf.function(index.__call__)
    durations = []
    for query in queries[:200]:
        start = time.perf_counter()
        call(query[None], seen)[1].numpy()
        durations.append(time.perf_counter() - start)
    return round(1e3 * float(np.median(durations)), 3)


def _queries(config: Config, prepared: Prepared, model: Any) -> np.ndarray:
    """Embeddings of real queries, as they stand before validation."""
    sequences = prepared.sequences()
    generator = np.random.default_rng(seeds.of(config, "index"))
    num_users = len(sequences.user_ids)
    rows = np.sort(generator.permutation(num_users)[:_TUNING_QUERIES])
    stops = past.part_stops(sequences, VALIDATION)[rows]
    history = Ragged.between(
        sequences.item_indices, sequences.offsets[rows], stops
    ).last(config.retrieval.history_length)
    known = np.where(rows + 2 < prepared.users.num_known, rows + 2, 1)
    return model.query_tower(
        history,
        known.astype(np.int32),
        requests.user_features(prepared, rows),
    ).numpy()
