"""Measures the exported models against baselines on the same queries.

Enters: the exported bundle, the index step, the prepared tables. Leaves, in
the step's directory, `evaluation.json`:

    dataset, split, part, protocol, seen, label, queries, bundle_id, seconds
    again        queries and targets that stand in their history, and whether
                 they can be found or count as misses
    rows         one a model and slice: recall, ndcg, mrr, users, intervals
    differences  paired, two_stage against retrieval, the best baseline, live
    baselines    settings chosen on validation
    left_out     models that are not among the rows, with the reason
    index        what approximate search loses against exact search
    ratings      root mean squared error where there are ratings
    ondevice     the student: size, latency and quality of each precision
    diversity    what diversity on request costs and gives
    sanity       collapse of lists and embeddings, shuffled targets
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.evaluate import artefacts, baselines, diversity
from pipeline.evaluate import ondevice as ondevice_evaluate
from pipeline.evaluate.artefacts import Artefacts
from pipeline.evaluate.scoreboard import CUTOFFS, Answer, Board
from pipeline.export import bundle as bundles
from pipeline.measure import metrics, queries
from pipeline.measure.metrics import Ragged
from pipeline.measure.queries import Queries
from pipeline.retrieval import index
from pipeline.run import manifest
from pipeline.run.config import Config
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import DataError
from serving import signatures
from serving.releases import history

RESULT = "evaluation.json"
# The row of what callers get, where the protocol lets the history come back.
AS_SHIPPED = "retrieval_as_shipped"


def run(
    config: Config,
    prepared: Prepared,
    exports: Path,
    index_directory: Path,
    directory: Path,
    ondevice: Path | None = None,
) -> dict[str, Any]:
    """Evaluates and writes `evaluation.json`.

    Args:
        config: The `evaluate` section decides.
        prepared: The prepared tables.
        exports: Directory of the export step.
        index_directory: Directory of the index step.
        directory: Where to write.
        ondevice: Directory of the ondevice-export step; None leaves the
            student out.

    Returns:
        What was written.

    Raises:
        DataError: If no query has a target that can be found.
    """
    started = time.monotonic()
    options = config.evaluate
    asked = queries.make(
        prepared,
        options.part,
        options.protocol,
        options.num_users,
        config.seed,
    )
    seen = "included" if prepared.repeat_consumption else options.seen
    # Otherwise the lists may hold what the exported models never return.
    is_shipped = prepared.repeat_consumption or seen == "excluded"
    again = _again(asked, seen)
    hidden = again["targets"] if seen == "excluded" else 0
    if len(asked.relevant.items) == hidden:
        raise DataError(
            f"The {options.part} part must have targets that can be found. "
            f"Received: {len(asked):,} queries without any (from [evaluate]): "
            "all targets are unknown items or in their user's history already. "
            "Choose another prepare.split, list the items in "
            "source.items_path, or set prepare.repeat_consumption to true."
        )
    embeddings = np.load(index_directory / index.EMBEDDINGS)
    bundle = Artefacts(
        {
            name: exports / name
            for name in (
                signatures.RETRIEVAL,
                signatures.RETRIEVAL_EXACT,
                signatures.RANKING,
                signatures.RECOMMENDER,
            )
        },
        prepared,
        prepared.sequences(),
    )
    answers = _ask(config, bundle, asked, embeddings, is_shipped)
    live = history.read(config.serving_directory)[:1]
    obstacle = _obstacle(config, exports, live, is_shipped)
    if live and not obstacle:
        answers["live"] = _two_stage(_live(config, prepared, live[0]), asked)
    chosen = {}
    for baseline in baselines.fit_all(
        prepared, options.part, config.seed, seen
    ):
        chosen[baseline.name] = baseline.settings
        answers[baseline.name] = baselines.recommend(
            baseline, asked.histories, max(CUTOFFS), config.seed, seen
        )
    board = Board(asked, prepared, options.bootstrap_samples, config.seed)
    left_out = baselines.left_out(prepared, options.part)
    student: dict[str, Any] | None = None
    if not is_shipped:
        left_out["student"] = "it never recommends items of the history"
    elif ondevice is not None:
        student, rows = ondevice_evaluate.run(
            config, ondevice, asked, board, answers["two_stage"]
        )
        answers |= rows
    result = {
        "dataset": config.name,
        "split": prepared.split,
        "part": options.part,
        "protocol": options.protocol,
        "seen": seen,
        "label": label(prepared.split, seen, prepared.repeat_consumption),
        "queries": len(asked),
        "again": again,
        "live": {
            "version": live[0] if live else None,
            "not_compared": obstacle,
        },
        "bundle_id": bundles.read_bundle_id(exports / signatures.BUNDLE[0]),
        "rows": [
            row for name in answers for row in board.rows(name, answers[name])
        ],
        "differences": board.differences(answers, tuple(chosen)),
        "baselines": chosen,
        "left_out": left_out,
        "index": _index_loss(answers, index_directory),
        "ratings": _ratings(config, bundle, prepared),
        "ondevice": student,
        "diversity": diversity.measure(
            bundle,
            asked,
            embeddings[:, : config.retrieval.embedding_dim],
            options.diversity,
        )
        if options.diversity and is_shipped
        else None,
        "sanity": board.sanity(answers, embeddings),
        "seconds": round(time.monotonic() - started, 1),
    }
    manifest.write_json(directory / RESULT, result)
    return result


def label(split: str, seen: str, repeats: bool = False) -> str:
    """What the figures may be compared with."""
    if split == "random" or (seen == "included" and not repeats):
        return "tutorial protocol: leaks the future, for comparison only"
    return "honest: every history ends before its targets"


def _again(asked: Queries, seen: str) -> dict[str, Any]:
    """How many targets users had before, and what becomes of them."""
    found = queries.again(asked)
    return {
        "queries": int((found > 0).sum()),
        "targets": int(found.sum()),
        "count_as": "targets" if seen == "included" else "misses",
    }


def _ask(
    config: Config,
    bundle: Artefacts,
    asked: Queries,
    embeddings: np.ndarray,
    is_shipped: bool,
) -> dict[str, Answer]:
    """Lists of the exported models by row name."""
    if is_shipped:
        return {
            "two_stage": _two_stage(bundle, asked),
            signatures.RETRIEVAL: bundle.retrieve(asked),
            signatures.RETRIEVAL_EXACT: bundle.retrieve(
                asked, signatures.RETRIEVAL_EXACT
            ),
        }
    # The exported models never return what is in the history, so lists that
    # may hold it are made from the exported embeddings; what the models
    # themselves answer stands beside them.
    found = artefacts.search(
        bundle.embed(asked), embeddings, config.index.num_candidates, None
    )
    return {
        "two_stage": bundle.rank(asked, found[1]),
        signatures.RETRIEVAL: found,
        signatures.RETRIEVAL_EXACT: found,
        AS_SHIPPED: bundle.retrieve(asked),
    }


def _two_stage(bundle: Artefacts, asked: Queries) -> Answer:
    return bundle.rank(asked, bundle.retrieve(asked)[1])


def _obstacle(
    config: Config, exports: Path, live: list[int], is_shipped: bool
) -> str:
    """Why the live version cannot answer this run's queries, "" if it can."""
    if not live:
        return ""
    if not is_shipped:
        return "it does not recommend items of the history"
    name = signatures.RETRIEVAL
    lost = history.missing(config.serving_directory, live[0])
    if lost:
        return f"it has no {', '.join(map(str, lost))} any more"
    theirs = bundles.read_manifest(
        config.serving_directory / name / str(live[0])
    )
    ours = bundles.read_manifest(exports / name)
    if theirs["run"] != ours["run"]:
        return f"it is of another run, {theirs['run']!r}"
    if theirs["query_inputs"] != ours["query_inputs"]:
        return f"it takes other inputs, {', '.join(theirs['query_inputs'])}"
    return ""


def _live(config: Config, prepared: Prepared, version: int) -> Artefacts:
    """The published bundle."""
    return Artefacts(
        {
            name: config.serving_directory / name / str(version)
            for name in (signatures.RETRIEVAL, signatures.RANKING)
        },
        prepared,
        prepared.sequences(),
    )


def _index_loss(answers: dict[str, Answer], directory: Path) -> dict[str, Any]:
    """Share of the exact answer that the index returns."""
    report = json.loads((directory / index.REPORT).read_text(encoding="utf-8"))
    found = {"kind": report["kind"], "latency_ms": report["latency_ms"]}
    exact = answers[signatures.RETRIEVAL_EXACT][1]
    for k in CUTOFFS:
        truth = exact[:, :k]
        there = Ragged.unpadded(truth)
        hits = metrics.find_hits(answers[signatures.RETRIEVAL][1][:, :k], there)
        found[f"recall@{k}"] = round(
            float(hits.sum() / max(len(there.items), 1)), 5
        )
    return found


def _ratings(
    config: Config, bundle: Artefacts, prepared: Prepared
) -> dict[str, float] | None:
    """Error of the predicted ratings of the part, None without ratings."""
    sequences = prepared.sequences()
    if sequences.ratings is None or not bundle.has_ratings:
        return None
    asked, candidates, truth = queries.ratings(
        prepared, config.evaluate.part, config.evaluate.num_users, config.seed
    )
    there = candidates > 0
    if not there.any():
        return None
    error = (bundle.rate(asked, candidates) - truth)[there]
    return {
        "rmse": round(float(np.sqrt(np.mean(error**2))), 5),
        "interactions": int(there.sum()),
    }
