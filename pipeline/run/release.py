"""Options of what leaves a run: its index, its figures, its release."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from models.config import Count, Options, PositiveShare, Rate, Share


@dataclass(frozen=True)
class IndexConfig(Options):
    """The nearest-neighbour index of the exported retrieval model.

    Attributes:
        kind: "exact" scores the whole catalogue, "scann" builds a ScaNN tree,
            "scann_int8" one that keeps the vectors of its best matches in a
            quarter of the memory, with rounded scores; "auto" takes exact
            below 10,000 items and else scann.
        num_candidates: Items retrieved a query (K), fixed at export.
        recall_floor: Share of the exact top `num_candidates` that the tuned
            ScaNN index must return.
    """

    kind: Literal["auto", "exact", "scann", "scann_int8"] = "auto"
    num_candidates: Count = 200
    recall_floor: PositiveShare = 0.95

    @property
    def reordering(self) -> Literal["float32", "int8"]:
        """How ScaNN keeps the vectors that it scores its best matches with."""
        return "int8" if self.kind == "scann_int8" else "float32"


@dataclass(frozen=True)
class EvaluateConfig(Options):
    """How the exported models are measured.

    Attributes:
        part: The part whose interactions are the targets. Choose settings on
            "validation", report "test".
        protocol: "split" asks once a user at the start of the part, "rolling"
            before each of the user's interactions in it.
        seen: Whether items of the history may be recommended; under
            `prepare.repeat_consumption` they always may. "included"
            reproduces tutorials only and is labelled so; the row
            `retrieval_as_shipped` then has the answers without them.
        num_users: Users drawn for the evaluation, or "all".
    """

    part: Literal["validation", "test"] = "test"
    protocol: Literal["split", "rolling"] = "split"
    seen: Literal["excluded", "included"] = "excluded"
    num_users: Count | Literal["all"] = "all"


@dataclass(frozen=True)
class PublishConfig(Options):
    """The gate in front of a release.

    Attributes:
        metric: The figure compared, a column of evaluation.json.
        must_beat: Rows of evaluation.json that two_stage must exceed, and the
            on-device student the first of them.
        max_loss: Share of the live version's figures that the new one may
            lose in coverage and on slices, and of what is right that the
            index and the student's file may.
        max_growth: Share by which it may be larger and slower than the live
            version; 1 is twice.
        keep_versions: Versions kept by `prune`, the live and the previous one
            always among them, or "all".
        keep_previous_loaded: Whether servers hold the release before the live
            one in memory as well, so that a rollback need not load it.
        stage: Whether an accepted version waits for `make canary` instead of
            going live, true or false, or the percent of users that ask it at
            once, until `make promote`; the first version goes live.
    """

    metric: str = "ndcg@10"
    must_beat: tuple[str, ...] = ("popularity", "recent_popularity")
    max_loss: Share = 0.2
    max_growth: Rate = 1.0
    keep_versions: int | Literal["all"] = "all"
    keep_previous_loaded: bool = False
    stage: bool | int = False

    @property
    def trial_percent(self) -> int:
        """Percent of users that an accepted version is tried on at once."""
        return 0 if isinstance(self.stage, bool) else self.stage

    def _rules(self) -> Iterator[tuple[bool, str]]:
        yield (
            isinstance(self.stage, bool) or 1 <= self.stage <= 100,
            "`stage` must be true, false or a percentage of users from 1 to "
            f"100. Received: {self.stage}.",
        )
        yield (
            self.keep_versions == "all" or self.keep_versions >= 2,
            '`keep_versions` must be at least 2 or "all", so that a rollback '
            f"has a target. Received: {self.keep_versions}.",
        )
