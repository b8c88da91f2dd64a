"""Ways to find nearest neighbours, beside each other.

Enters: a catalogue and what `pipeline.retrieval` made of it. Leaves: things
that take one query and give item indices, all on one thread. Exact search,
ours and the layers of TensorFlow Recommenders are exported and run as a server
runs them; faiss and hnswlib are called from Python.
"""

import copy
import importlib
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from models.config import FIRST_ITEM
from models.layers import index as search
from pipeline.retrieval import tuning
from serving.server.runtime.bundle import Bundle

# Columns; items wanted; items of a request that are never to return.
DIM, K, SEEN = 64, 200, 50
# What faiss visits, and reorders for each wanted; what hnswlib keeps.
_PROBES, _FACTORS, _KEPT = (
    (1, 2, 5, 10, 20, 40, 80),
    (2, 4, 8, 16),
    (200, 400, 800),
)
_STOCK_SEARCHED = (10, 30)
Find = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Subject:
    """One method with one setting.

    Attributes:
        find: A query `[embedding_dim]` to item indices.
        is_exact: Whether it reads the whole catalogue.
    """

    method: str
    setting: str
    find: Find
    build_seconds: float = 0.0
    is_exact: bool = False


def catalogue(num_items: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings as trained ones are: clusters in clusters, norms that vary.

    Returns:
        `[num_items + 2, DIM]` and queries `[500, DIM]`, each near an item.
    """
    generator = np.random.default_rng(seed)
    count = max(20, num_items // 500)
    coarse = generator.normal(size=(50, DIM))[generator.integers(0, 50, count)]
    centres = 0.7 * (coarse + generator.normal(size=(count, DIM)))
    share = generator.pareto(1.5, count) + 0.1
    rows = np.empty((num_items + FIRST_ITEM, DIM), np.float32)
    members = generator.choice(count, len(rows), p=share / share.sum())
    # In blocks: the noise of all rows takes twice their memory.
    for block in np.array_split(np.arange(len(rows)), len(rows) // 100_000 + 1):
        noise = 0.6 * generator.standard_normal((len(block), DIM), np.float32)
        norms = generator.lognormal(0, 0.15, (len(block), 1)) / 8
        rows[block] = norms * (centres[members[block]] + noise)
    rows[:FIRST_ITEM] = 0
    picked = 8 * rows[generator.integers(FIRST_ITEM, len(rows), 500)]
    noise = 0.6 * generator.standard_normal(picked.shape, np.float32)
    return rows, picked + noise


def all_of(
    index: search.ExactIndex | search.ScannIndex, directory: Path
) -> Iterator[Subject]:
    """Every method on the catalogue of an index.

    Args:
        directory: Scratch, for what is exported.
    """
    exact = index if isinstance(index, search.ExactIndex) else index.exact
    graphs: dict[str, search.ExactIndex | search.ScannIndex] = {"exact": exact}
    if isinstance(index, search.ScannIndex):
        graphs |= _efforts(index)
    for setting, find in _exported(graphs, directory / "ours").items():
        is_exact = setting == "exact"
        yield Subject(
            "exact" if is_exact else "ours", setting, find, is_exact=is_exact
        )
    items = exact.embeddings.numpy()[FIRST_ITEM:]
    yield from _stock(items, directory)
    yield from _faiss(items)
    yield from _hnswlib(items)


def _efforts(index: search.ScannIndex) -> dict[str, search.ScannIndex]:
    """The tuned index, and with less and more effort."""
    found = {}
    for leaves, candidates in ((1, 1), (0.25, 0.6), (0.5, 1), (2, 1.5), (4, 2)):
        other = copy.copy(index)
        other.num_leaves_to_search = max(
            1, round(leaves * index.num_leaves_to_search)
        )
        other.num_reordering_candidates = max(
            index.k, round(candidates * index.num_reordering_candidates)
        )
        chosen = "chosen: " if (leaves, candidates) == (1, 1) else ""
        found[
            f"{chosen}{other.num_leaves_to_search} leaves, "
            f"{other.num_reordering_candidates} reordered"
        ] = other
    return found


def _exported(
    graphs: dict[str, search.ExactIndex | search.ScannIndex], path: Path
) -> dict[str, Find]:
    """Saves indexes as signatures of one model and runs it as a server does."""
    query = tf.TensorSpec([None, DIM], tf.float32, "query")
    seen = tf.TensorSpec([None, None], tf.int32, "seen")
    module = tf.Module()
    module.indexes = list(graphs.values())

    def trace(index: search.ExactIndex | search.ScannIndex) -> object:
        return tf.function(
            lambda query, seen: {"found": index(query, seen)[1]}
        ).get_concrete_function(query=query, seen=seen)

    functions = {
        f"find_{place}": trace(index)
        for place, index in enumerate(graphs.values())
    }
    tf.saved_model.save(module, str(path), signatures=functions)
    hidden = np.zeros((1, SEEN), np.int32)
    return {
        name: _caller(path, signature, {"seen": hidden})
        for name, signature in zip(graphs, functions, strict=True)
    }


def _caller(path: Path, name: str, more: dict[str, np.ndarray]) -> Find:
    threads = config_pb2.ConfigProto(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=1
    )
    bundle = Bundle(path, config=threads)
    signature = bundle.signature(name)
    if signature is None:
        raise ValueError(f"The model must have a signature {name!r}.")
    fixed = {signature.feeds[key]: value for key, value in more.items()}
    fetches = [signature.fetches["found"]]

    def find(query: np.ndarray) -> np.ndarray:
        feeds = {**fixed, signature.feeds["query"]: query[None]}
        return bundle.run(signature, feeds, fetches, None)[0][0]

    return find


def _stock(items: np.ndarray, directory: Path) -> Iterator[Subject]:
    """The layers of TensorFlow Recommenders, saved."""
    from tensorflow_recommenders.layers import factorized_top_k

    leaves = tuning.num_leaves(len(items))
    layers = {"BruteForce": (factorized_top_k.BruteForce(k=K), True)}
    for searched in _STOCK_SEARCHED:
        layer = factorized_top_k.ScaNN(
            k=K,
            num_leaves=leaves,
            num_leaves_to_search=min(searched, leaves),
            num_reordering_candidates=3 * K,
            parallelize_batch_searches=False,
        )
        layers[f"{searched} leaves, {3 * K} reordered"] = (layer, False)
    for place, (setting, (layer, is_exact)) in enumerate(layers.items()):
        start = time.perf_counter()
        layer.index(items)
        seconds = time.perf_counter() - start
        found = tf.function(
            lambda query, layer=layer: {"found": layer(query)[1]}
        ).get_concrete_function(
            query=tf.TensorSpec([None, DIM], tf.float32, "query")
        )
        path = directory / f"stock-{place}"
        tf.saved_model.save(layer, str(path), signatures={"find": found})
        find = _shifted(_caller(path, "find", {}))
        method = f"TFRS {type(layer).__name__}"
        yield Subject(method, setting, find, seconds, is_exact)


def _faiss(items: np.ndarray) -> Iterator[Subject]:
    # Not by name: its types know few of its functions.
    faiss = importlib.import_module("faiss")
    faiss.omp_set_num_threads(1)
    kind = f"IVF{tuning.num_leaves(len(items))},PQ{DIM // 2}x4fs,RFlat"
    start = time.perf_counter()
    index = faiss.index_factory(DIM, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(items)
    index.add(items)
    seconds = time.perf_counter() - start
    for probes, factor in itertools.product(_PROBES, _FACTORS):
        effort = faiss.IndexRefineSearchParameters(
            k_factor=factor,
            base_index_params=faiss.SearchParametersIVF(nprobe=probes),
        )

        def find(query: np.ndarray, effort: object = effort) -> np.ndarray:
            return index.search(query[None], K, params=effort)[1][0]

        setting = f"{kind}, {probes} probed, {factor * K} reordered"
        yield Subject("faiss", setting, _shifted(find), seconds)


def _hnswlib(items: np.ndarray) -> Iterator[Subject]:
    import hnswlib

    start = time.perf_counter()
    index = hnswlib.Index(space="ip", dim=DIM)
    index.init_index(max_elements=len(items), M=16, ef_construction=K)
    index.add_items(items)
    seconds = time.perf_counter() - start
    for kept in _KEPT:

        def find(query: np.ndarray, kept: int = kept) -> np.ndarray:
            index.set_ef(kept)
            return index.knn_query(query, K, num_threads=1)[0][0]

        yield Subject("hnswlib", f"M 16, ef {kept}", _shifted(find), seconds)


def _shifted(find: Find) -> Find:
    """Positions among items to item indices."""
    return lambda query: find(query).astype(np.int64) + FIRST_ITEM
