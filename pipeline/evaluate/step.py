"""Measures the exported models against baselines on the same queries.

Enters: the exported bundle, the index step, the prepared tables. Leaves, in
the step's directory, `evaluation.json`, `details.json` and `examples.json`;
the modules of these names say what stands in them.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.config import at_most
from pipeline.evaluate import (
    baselines,
    calibration,
    details,
    diversity,
    evaluation,
    examples,
    golden,
    latency,
    live,
    variety,
)
from pipeline.evaluate import ondevice as ondevice_evaluate
from pipeline.evaluate.artefacts import Artefacts
from pipeline.evaluate.details import Details
from pipeline.evaluate.evaluation import Again, Evaluation, Live
from pipeline.evaluate.scoreboard import (
    ALL_QUERIES,
    CUTOFFS,
    LISTED,
    Board,
    figure,
)
from pipeline.export import bundle as bundles
from pipeline.measure import metrics, requests, search
from pipeline.measure.requests import Requests
from pipeline.measure.search import Answer
from pipeline.retrieval.report import EMBEDDINGS, Report
from pipeline.run.config import Config
from pipeline.tables.prepared import Prepared
from pipeline.tables.ragged import Ragged
from pipeline.tables.schema import TRAIN, DataError
from serving import signatures
from serving.releases import history

# Resamples behind each confidence interval.
_BOOTSTRAP_SAMPLES = 1000
# The row of what callers get, where the protocol lets the history come back.
AS_SHIPPED = "retrieval_as_shipped"


@dataclass(frozen=True)
class _Trial:
    """Who is asked what, by which rules, and the lists that came back.

    Attributes:
        answers: By row name, in the order of the rows.
    """

    config: Config
    prepared: Prepared
    exports: Path
    asked: Requests
    answers: dict[str, Answer] = field(default_factory=dict)

    @property
    def seen(self) -> str:
        """Whether items of the history are "included" in the lists."""
        repeats = self.prepared.repeat_consumption
        return "included" if repeats else self.config.evaluate.seen

    @property
    def is_shipped(self) -> bool:
        """Whether the exported models return all that lists may hold."""
        return self.prepared.repeat_consumption or self.seen == "excluded"


def run(
    config: Config,
    prepared: Prepared,
    exports: Path,
    index_directory: Path,
    directory: Path,
    ondevice: Path | None = None,
) -> Evaluation:
    """Evaluates and writes `evaluation.json`.

    Args:
        ondevice: Directory of the ondevice-export step; None leaves the
            student out.

    Raises:
        DataError: If no query has a target that can be found.
    """
    started = time.monotonic()
    trial = _trial(config, prepared, exports)
    asked, answers, options = trial.asked, trial.answers, config.evaluate
    # While no model is in memory.
    chosen, simple = _baselines(trial)
    embeddings = np.load(index_directory / EMBEDDINGS)
    units = diversity.units(embeddings[:, : config.retrieval.embedding_dim])
    models = {name: exports / name for name in signatures.BUNDLE}
    bundle = Artefacts(models, prepared)
    retrieved = _ask(trial, bundle, embeddings)
    published = _live(trial)
    answers.update(simple)
    board = Board(asked, prepared, _BOOTSTRAP_SAMPLES, config.seed)
    student = _student(trial, ondevice, board)
    rated = _rated(trial, bundle)
    found = Evaluation(
        dataset=config.name,
        split=prepared.split,
        part=options.part,
        protocol=options.protocol,
        seen=trial.seen,
        label=label(prepared.split, trial.seen, prepared.repeat_consumption),
        queries=len(asked),
        again=_again(trial),
        live=published.live,
        bundle_id=bundles.read_bundle_id(exports / signatures.BUNDLE[0]),
        rows=tuple(
            row for name in answers for row in board.rows(name, answers[name])
        ),
        differences=board.differences(
            answers,
            tuple(chosen),
            ALL_QUERIES if published.fair is None else published.fair,
        ),
        baselines=chosen,
        left_out=_left_out(trial),
        index=_index_loss(*retrieved, index_directory),
        ratings=_ratings(*rated) if rated else None,
        ondevice=student,
        diversity=_diversity(trial, bundle, units),
        sanity=board.sanity(answers, embeddings),
        seconds=round(time.monotonic() - started, 1),
    )
    found.write(directory / evaluation.FILE)
    examples.write(directory, prepared, asked, answers)
    golden.write(directory, bundle, asked)
    _details(trial, bundle, board, units, rated, published).write(directory)
    return found


def label(split: str, seen: str, repeats: bool = False) -> str:
    """What the figures may be compared with."""
    if split == "random" or (seen == "included" and not repeats):
        return "tutorial protocol: leaks the future, for comparison only"
    return "honest: every history ends before its targets"


def _trial(config: Config, prepared: Prepared, exports: Path) -> _Trial:
    """Draws the queries.

    Raises:
        DataError: If none of their targets can be found.
    """
    options = config.evaluate
    asked = requests.make(
        prepared,
        options.part,
        options.protocol,
        at_most(options.num_users),
        config.seed,
    )
    trial = _Trial(config, prepared, exports, asked)
    again = _again(trial)
    hidden = again.targets if again.count_as == "misses" else 0
    if len(asked.relevant.items) == hidden:
        raise DataError(
            f"The {options.part} part must have targets that can be found. "
            f"Received: {len(asked):,} queries without any (from [evaluate]): "
            "all targets are unknown items or in their user's history already. "
            "Choose another prepare.split, list the items in "
            "source.items_path, or set prepare.repeat_consumption to true."
        )
    return trial


def _again(trial: _Trial) -> Again:
    """How many targets users had before, and what becomes of them."""
    found = requests.again(trial.asked)
    return Again(
        int((found > 0).sum()),
        int(found.sum()),
        "targets" if trial.seen == "included" else "misses",
    )


def _ask(
    trial: _Trial, bundle: Artefacts, embeddings: np.ndarray
) -> tuple[Answer, Answer]:
    """Asks the exported models; what the index and exact search return."""
    asked, answers = trial.asked, trial.answers
    retrieved = found = bundle.retrieve(asked)
    nearest = exact = bundle.retrieve(asked, signatures.RETRIEVAL_EXACT)
    if not trial.is_shipped:
        # The exported models never return what is in the history, so lists
        # that may hold it are made from the exported embeddings; what the
        # models themselves answer stands beside them.
        vectors = bundle.embed(asked)
        found = exact = search.find(
            lambda rows: vectors[rows] @ embeddings.T,
            trial.config.index.num_candidates,
            Ragged.empty(len(asked)),
            search.rows_at_once(len(embeddings)),
        )
    answers["two_stage"] = bundle.rank(asked, found[1])
    answers[signatures.RETRIEVAL] = found
    answers[signatures.RETRIEVAL_EXACT] = exact
    if not trial.is_shipped:
        answers[AS_SHIPPED] = retrieved
    return retrieved, nearest


def _live(trial: _Trial) -> live.Asked:
    """Asks the live version too, where it can answer these queries."""
    serving = trial.config.serving_directory
    if not trial.is_shipped:
        version = next(iter(history.read(serving)), None)
        why = "it does not recommend items of the history" if version else ""
        return live.Asked(Live(version, why))
    found = live.ask(serving, trial.exports, trial.prepared, trial.asked)
    if found.answer is not None:
        trial.answers["live"] = found.answer
    return found


def _baselines(
    trial: _Trial,
) -> tuple[dict[str, dict[str, float]], dict[str, Answer]]:
    """Settings that validation chose, and lists, by the name of a baseline."""
    part, seed = trial.config.evaluate.part, trial.config.seed
    chosen, found = {}, {}
    for made in baselines.fit_all(trial.prepared, part, seed, trial.seen):
        chosen[made.name] = made.settings
        found[made.name] = baselines.recommend(
            made, trial.asked.histories, max(CUTOFFS), seed, trial.seen
        )
    return chosen, found


def _student(
    trial: _Trial, directory: Path | None, board: Board
) -> evaluation.Student | None:
    """Asks the student, where there is one that could answer."""
    if directory is None or not trial.is_shipped:
        return None
    student, rows = ondevice_evaluate.run(
        directory,
        trial.config.student.precision,
        trial.asked.histories,
        board,
        trial.answers["two_stage"],
    )
    trial.answers.update(rows)
    return student


def _left_out(trial: _Trial) -> dict[str, str]:
    found = baselines.left_out(trial.prepared, trial.config.evaluate.part)
    if not trial.is_shipped:
        found["student"] = "it never recommends items of the history"
    return found


def _index_loss(
    found: Answer, nearest: Answer, directory: Path
) -> evaluation.Index:
    """Share of the exact answer that the index returns, both as exported."""
    report = Report.read(directory)
    exact = nearest[1]
    shares = []
    for k in CUTOFFS:
        there = Ragged.unpadded(exact[:, :k])
        hits = metrics.find_hits(found[1][:, :k], there)
        shares.append(figure(hits.sum() / max(len(there.items), 1)))
    return evaluation.Index(report.kind, report.latency_ms, *shares)


def _rated(
    trial: _Trial, bundle: Artefacts
) -> tuple[np.ndarray, np.ndarray] | None:
    """Predicted and real ratings of the part, None without ratings."""
    sequences, options = trial.prepared.sequences(), trial.config.evaluate
    if sequences.ratings is None or not bundle.has_ratings:
        return None
    asked, candidates, truth = requests.ratings(
        trial.prepared,
        options.part,
        at_most(options.num_users),
        trial.config.seed,
    )
    there = candidates > 0
    if not there.any():
        return None
    return bundle.rate(asked, candidates)[there], truth[there]


def _ratings(predicted: np.ndarray, truth: np.ndarray) -> evaluation.Ratings:
    error = np.sqrt(np.mean((predicted - truth) ** 2))
    return evaluation.Ratings(figure(error), len(truth))


def _details(
    trial: _Trial,
    bundle: Artefacts,
    board: Board,
    units: np.ndarray,
    rated: tuple[np.ndarray, np.ndarray] | None,
    published: live.Asked,
) -> Details:
    asked, answers, prepared = trial.asked, trial.answers, trial.prepared
    counts = prepared.items.counts[TRAIN]
    return Details(
        details.recall(asked, answers),
        tuple(details.lengths(asked, answers, board)),
        {
            name: variety.measure(items, counts, units)
            for name, (_, items) in answers.items()
        },
        variety.measure(asked.histories.last(LISTED), counts, units),
        tuple(
            calibration.probabilities(
                answers["two_stage"],
                prepared.sequences().item_indices[asked.events],
            )
        ),
        tuple(calibration.ratings(*rated)) if rated else (),
        latency.measure(
            bundle, asked, answers[signatures.RETRIEVAL][1], published.models
        ),
        live.slices(board, answers, asked.histories.lengths, published.fair),
        published.without,
    )


def _diversity(
    trial: _Trial, bundle: Artefacts, units: np.ndarray
) -> tuple[evaluation.Diversity, ...] | None:
    """What diversity costs; None where it is not answered."""
    if not trial.is_shipped:
        return None
    return diversity.measure(bundle, trial.asked, units)
