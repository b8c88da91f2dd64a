"""Builds the nearest-neighbour index and tunes it to a recall floor.

Enters: a trained retrieval model. Leaves, in the step's directory:
`embeddings.npy` `[num_items + 2, embedding_dim]`, `index.json` (what was
chosen and the whole recall/latency frontier) and, for ScaNN, `searcher-0.npz`
and so on, one a shard. `gone.npy` has the indices of items that are answered
no more, where there are such.

Exact search is the truth that recall is measured against, and the choice for
small catalogues: one matrix product beats a tree there.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

from models.config import FIRST_ITEM
from models.layers import index as search
from models.retrieval import RetrievalModel
from pipeline.measure import requests
from pipeline.retrieval import train, tuning
from pipeline.retrieval.report import EMBEDDINGS, Report
from pipeline.run import auto, manifest, seeds
from pipeline.run.config import Config
from pipeline.run.release import IndexConfig
from pipeline.tables import past
from pipeline.tables.prepared import Prepared
from pipeline.tables.ragged import Ragged
from pipeline.tables.schema import VALIDATION, DataError

_SEARCHER = "searcher-{}.npz"
_GONE = "gone.npy"
# Below this ScaNN cannot train its codebooks.
_SCANN_MINIMUM = 1_000
_SHOWN = 5
# Queries that recall and latency are measured on.
_TUNING_QUERIES, _TIMED_QUERIES = 500, 200
Index = search.ExactIndex | search.ScannIndex


def run(
    config: Config,
    prepared: Prepared,
    retrieval: Path,
    directory: Path,
    shards: Sequence[Path] = (),
) -> Report:
    """Embeds the catalogue, builds, tunes and saves the index.

    Args:
        shards: What `run_shard` wrote, all of it; none embeds here.

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
        paths = [shard / _SEARCHER.format(0) for shard in shards]
        # A shard may be too small for one.
        if all(path.exists() for path in paths):
            searchers = [_load_searcher(path) for path in paths]
    else:
        embeddings = model.candidate_embeddings()
    _check(embeddings, prepared.items.ids)
    queries = _queries(config, prepared, model)
    gone = prepared.gone
    exact = search.ExactIndex(embeddings, config.index.num_candidates, gone)
    kept = np.delete(embeddings, gone, axis=0) if len(gone) else embeddings
    report, searchers = choose(exact, kept, queries, config.index, searchers)
    save(embeddings, report, searchers, directory)
    if len(gone):
        np.save(directory / _GONE, gone)
    return report


def run_shard(
    config: Config,
    prepared: Prepared,
    retrieval: Path,
    directory: Path,
    shard: int,
    num_shards: int,
) -> int:
    """Embeds and indexes a slice for `run` to merge; its number of items.

    Args:
        shard: Which slice, counted from 0.

    Raises:
        DataError: If there are more slices than items.
    """
    num_items = len(prepared.items.ids) - FIRST_ITEM
    if num_shards > num_items:
        raise DataError(
            "Every shard must have an item. Received: "
            f"{num_shards} shards of {num_items} items (from --shard)."
        )
    first, stop = (
        FIRST_ITEM + place * num_items // num_shards
        for place in (shard, shard + 1)
    )
    model = train.load(config, prepared, retrieval)
    # The first slice carries the rows of padding and unknown items.
    embeddings = model.candidate_embeddings(
        first=first if shard else 0, stop=stop
    )
    _check(embeddings, prepared.items.ids[first if shard else 0 : stop])
    np.save(directory / EMBEDDINGS, embeddings)
    size = stop - first
    is_scann = auto.index_kind(config.index, num_items).value != "exact"
    if is_scann and size >= _SCANN_MINIMUM:
        searcher = search.build_searcher(
            embeddings[-size:],
            config.index.num_candidates,
            tuning.num_leaves(size),
            config.index.reordering,
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


def save(
    embeddings: np.ndarray,
    report: Report,
    searchers: tuning.Searchers | None,
    directory: Path,
) -> None:
    """Writes what `build` made of `embeddings` for `load`."""
    np.save(directory / EMBEDDINGS, embeddings)
    for number, searcher in enumerate(searchers or ()):
        _save_searcher(searcher, directory / _SEARCHER.format(number))
    report.write(directory)


def _save_searcher(searcher: list[np.ndarray], path: Path) -> None:
    # Some tensors are strings, which NumPy would have to pickle.
    protos = (tf.make_tensor_proto(x).SerializeToString() for x in searcher)
    np.savez(path, *(np.frombuffer(proto, np.uint8) for proto in protos))


def _load_searcher(path: Path) -> list[np.ndarray]:
    with np.load(path) as saved:
        return [
            tf.make_ndarray(TensorProto.FromString(saved[name].tobytes()))
            for name in saved.files
        ]


def load(config: IndexConfig, directory: Path) -> Index:
    """The index a step directory holds."""
    tuned = Report.read(directory).scann
    gone = directory / _GONE
    exact = search.ExactIndex(
        np.load(directory / EMBEDDINGS),
        config.num_candidates,
        np.load(gone) if gone.exists() else (),
    )
    if tuned is None:
        return exact
    searchers = [
        _load_searcher(directory / _SEARCHER.format(number))
        for number in range(len(tuned.shards))
    ]
    return search.ScannIndex(
        exact,
        searchers,
        tuned.shards,
        tuned.chosen.leaves,
        tuned.chosen.reordering,
        # Of its content: indexes of several runs may meet in a process.
        f"scann-{manifest.file_digest(directory)[:16]}",
    )


def build(
    embeddings: np.ndarray,
    queries: np.ndarray,
    config: IndexConfig,
    searchers: tuning.Searchers | None = None,
) -> tuple[Report, tuning.Searchers | None]:
    """Chooses an index by the config and measures it.

    Args:
        embeddings: `[num_items + 2, embedding_dim]`.
        queries: `[num_queries, embedding_dim]` to measure recall with.
        searchers: Of equal slices of the items, to be merged; None builds
            one over all of them.

    Raises:
        DataError: If ScaNN is asked for on too small a catalogue.
    """
    exact = search.ExactIndex(embeddings, config.num_candidates)
    return choose(exact, embeddings, queries, config, searchers)


def choose(
    exact: search.ExactIndex,
    embeddings: np.ndarray,
    queries: np.ndarray,
    config: IndexConfig,
    searchers: tuning.Searchers | None = None,
) -> tuple[Report, tuning.Searchers | None]:
    """As `build`, of the embeddings in `exact` of items that are not gone."""
    num_items = len(embeddings) - FIRST_ITEM
    if auto.index_kind(config, num_items).value == "exact":
        _found, latency = tuning.answers(
            tf.function(exact.__call__), queries[:_TIMED_QUERIES]
        )
        return Report(num_items, exact.k, 1.0, latency), None
    if num_items < _SCANN_MINIMUM:
        raise DataError(
            f"A ScaNN index needs at least {_SCANN_MINIMUM} items. Received: "
            f"{num_items} (from [index] kind = {config.kind!r}). Set it to "
            "'exact', which is faster at this size."
        )
    tuned, searchers = tuning.tune(
        exact, embeddings, queries, config, searchers
    )
    best = tuned.chosen
    made = Report(num_items, exact.k, best.recall, best.latency_ms, tuned)
    return made, searchers


def _queries(
    config: Config, prepared: Prepared, model: RetrievalModel
) -> np.ndarray:
    """Embeddings of real queries, as they stand before validation."""
    sequences = prepared.sequences()
    generator = np.random.default_rng(seeds.of(config, "index"))
    users = generator.permutation(len(sequences.user_ids))
    rows = np.sort(users[:_TUNING_QUERIES])
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
