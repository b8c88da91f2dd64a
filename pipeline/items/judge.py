"""Whether a catalogue as of now may take the place of the live version's.

The models are the same, so the log must find known items as well as before. It
knows nothing of new items: whether they are liked nobody can say, but how much
they displace. Both versions answer the same queries; targets that are gone are
none.

Leaves `quality.json`, and the golden requests that a server must answer alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.config import FIRST_ITEM, PADDING, at_most
from models.layers.index import MASKED_SCORE
from pipeline.evaluate import golden
from pipeline.evaluate.artefacts import Artefacts
from pipeline.evaluate.evaluation import HEADLINE
from pipeline.evaluate.scoreboard import LISTED, Board, figure
from pipeline.measure import metrics, requests
from pipeline.measure.search import Answer
from pipeline.retrieval.report import Report
from pipeline.run import manifest, rules
from pipeline.run.config import Config
from pipeline.run.rules import Rule
from pipeline.tables.prepared import Prepared
from serving import signatures

FILE = "quality.json"
_SAMPLES = 1000


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Attributes:
        quality: The rules.
        figures: Of both versions, known items among themselves.
    """

    quality: list[Rule]
    figures: Mapping[str, float]

    def write(self, directory: Path) -> None:
        """Writes `quality.json`."""
        manifest.write_json(
            directory / FILE,
            {"rules": rules.plain(self.quality), "figures": self.figures},
        )

    @classmethod
    def read(cls, directory: Path) -> Verdict:
        """Reads what `write` wrote."""
        found = json.loads((directory / FILE).read_text("utf-8"))
        return cls([Rule(**rule) for rule in found["rules"]], found["figures"])


@dataclass(frozen=True)
class Sides:
    """What is held against what.

    Attributes:
        exports: Models of the new catalogue.
        live: Models of the live version, by name.
        index: Directory of the new index.
        added: Rows of the items that the live version does not have.
    """

    exports: Path
    live: Mapping[str, Path]
    index: Path
    added: np.ndarray


def judge(
    config: Config, prepared: Prepared, sides: Sides, directory: Path
) -> Verdict:
    """Asks both and writes what was found.

    Args:
        config: Of the run.
        prepared: Tables with the new catalogue.
        sides: What is held against what.
        directory: Existing.
    """
    options = config.evaluate
    asked = requests.without(
        requests.make(
            prepared,
            options.part,
            options.protocol,
            at_most(options.num_users),
            config.seed,
        ),
        prepared.gone,
    )
    models = {name: sides.exports / name for name in signatures.BUNDLE}
    new, live = Artefacts(models, prepared), Artefacts(sides.live, prepared)
    golden.write(directory, new, asked)
    ours, theirs = (
        bundle.rank(asked, bundle.retrieve(asked)[1]) for bundle in (new, live)
    )
    board = Board(asked, prepared, _SAMPLES, config.seed)
    metric, figures = config.publish.metric, {}
    quality = [_index(sides.index, config.publish.max_loss)]
    if not len(asked):
        words = "no query of the log has a target that is left; known items "
        words += "were not compared."
        quality.append(Rule("known items against live", words))
    else:
        is_left = np.ones(len(prepared.items.ids), bool)
        is_left[prepared.gone] = False
        is_known = is_left.copy()
        is_known[sides.added] = False
        known = [
            board.values(_only(answer, is_known)) for answer in (ours, theirs)
        ]
        if metric not in known[0]:
            metric = HEADLINE
        figures = {
            f"{name} {metric}": figure(values[metric].mean(), 6)
            for name, values in zip(("two_stage", "live"), known, strict=True)
        }
        # Nor is live behind for the places that it gives to what is gone.
        shown = board.values(ours), board.values(_only(theirs, is_left))
        quality += [
            _known(metric, known[0][metric], known[1][metric], config),
            _shown(metric, shown[0][metric], shown[1][metric], config),
            _places(ours[1][:, :LISTED], sides.added),
        ]
    verdict = Verdict(quality, figures)
    verdict.write(directory)
    return verdict


def _only(answer: Answer, kept: np.ndarray) -> Answer:
    """Lists of the items that are kept (bool `[N + 2]`), the others left out.

    Those behind move up, and what is empty comes last.
    """
    scores, items = answer
    there = kept[items] & (items >= FIRST_ITEM)
    order = np.argsort(~there, axis=1, kind="stable")
    there, scores, items = (
        np.take_along_axis(values, order, axis=1)
        for values in (there, scores, items)
    )
    return (
        np.where(there, scores, MASKED_SCORE),
        np.where(there, items, PADDING),
    )


def _known(
    metric: str, new: np.ndarray, live: np.ndarray, config: Config
) -> Rule:
    found = metrics.paired_difference(new, live, _SAMPLES, config.seed)
    return Rule.of(
        "known items against live",
        not found["high"] < 0,
        "known items among themselves must not be found worse than by the live "
        f"version beyond noise: {metric} differs by "
        f"{found['difference']:+.4f} (95 % interval {found['low']:+.4f} to "
        f"{found['high']:+.4f}, {len(new):,} queries).",
        found["high"],
        0.0,
    )


def _shown(
    metric: str, new: np.ndarray, live: np.ndarray, config: Config
) -> Rule:
    found = metrics.paired_difference(new, live, _SAMPLES, config.seed)
    most = config.publish.max_loss
    least = -most * float(live.mean())
    return Rule.of(
        "lists with new items against live",
        not found["high"] < least,
        "with new items in the lists, of which the log cannot know that they "
        f"are liked, {metric} differs by {found['difference']:+.4f} from the "
        f"live version's {live.mean():.4f} (95 % interval {found['low']:+.4f} "
        f"to {found['high']:+.4f}); at most {most:.0%} of it may be lost. "
        "Where more is, look at the features of the new items.",
        found["high"],
        least,
    )


def _places(items: np.ndarray, added: np.ndarray) -> Rule:
    share = float(np.isin(items, added).mean())
    words = f"new items take {share:.1%} of the first {LISTED} places."
    return Rule("places of new items", words, value=round(share, 6))


def _index(directory: Path, max_loss: float) -> Rule:
    found, least = Report.read(directory), 1 - max_loss
    return Rule.of(
        "index recall",
        found.recall >= least,
        f"the {found.kind} index finds {found.recall:.1%} of the exact first "
        f"{found.k}; at least {least:.0%} is expected.",
        found.recall,
        least,
    )
