"""Whether a training may start from the live version, and for how long.

`base` starts from `base`, `final` from `final`, the scorer and the students
from theirs: each from one that has learned less than it is to learn itself. The
gate then compares two versions of which neither has seen the test part.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import tensorflow as tf

from pipeline.run.auto import Choice
from pipeline.run.config import Config
from pipeline.tables.prepared import Prepared
from pipeline.warm import fill
from pipeline.warm.carried import Carried, Model
from pipeline.warm.fill import Filled
from pipeline.warm.seen import Block, Seen

# Epochs of a training that has a start, of those that the best of one without
# took. With a tenth more of ML-1M (2,000 users) 4 epochs reached NDCG@100 .2612
# on validation, 10 without a start .2603; half of the learning rate, .2586
# after 3, was behind.
SHARE = 0.5
# What an interaction that the weights have not learned counts for, beside one
# that they have: in so few epochs it is then learned as much as a training
# without a start would. On a generated log (three seeds) `final` had NDCG@10
# .2293 on validation, .2229 where all count alike, .2261 without a start.
NEW = 1 / SHARE
# Where these differ the vectors mean something else.
_SAME = ("encoder", "embedding_dim", "num_heads")


@dataclass
class Start:
    """What a training starts from.

    Attributes:
        carried: Of the live version; None where it starts cold.
        why: It starts cold, in words; "" where nobody asked for a start.
        filled: What became of the last model that was filled.
    """

    carried: Carried | None = None
    why: str = ""
    filled: Filled = field(default_factory=Filled)

    def fill(
        self, model: tf.keras.Model, which: Model, prepared: Prepared
    ) -> None:
        """Puts the version's weights into a fresh model, if there are any.

        A scorer of other signals or a student of other layers makes this a
        cold start.
        """
        if self.carried is None:
            return
        self.filled = fill.fill(model, self.carried, which, prepared)
        if which not in ("base", "final") and not self.filled.fits:
            parts = "signals" if which == "scorer" else "layers"
            self.carried, self.why = None, f"it has other {parts} than then"

    def seen(self, which: Model) -> Seen | None:
        """What the version's weights have learned, if there are any."""
        return None if self.carried is None else self.carried.seen(which)

    def epochs(self, cold: int) -> int:
        """How many to train, of those that a cold start takes."""
        if self.carried is None:
            return cold
        return max(1, math.ceil(cold * SHARE))

    def choices(self, part: str) -> list[Choice[str]]:
        """What to keep and say of it; nothing where nobody asked.

        Args:
            part: What is trained.
        """
        option, filled = f"{part} starts from", self.filled
        if self.carried is None:
            return [Choice(option, "nothing", self.why)] if self.why else []
        said = ["it is live"]
        if filled.mapped + filled.new + filled.gone:
            said.append(
                f"{filled.mapped:,} items go on where they were, "
                f"{filled.new:,} are new, {filled.gone:,} gone"
            )
        if filled.cold:
            said.append(f"made anew: {', '.join(filled.cold)}")
        found = f"version {self.carried.version}"
        return [Choice(option, found, "; ".join(said))]

    def plain(self) -> dict[str, object]:
        """For a step's figures; nothing where nobody asked."""
        if self.carried is None:
            return {"start": {"nothing": self.why}} if self.why else {}
        said = dataclasses.asdict(self.filled)
        return {"start": {"version": self.carried.version, **said}}


def find(
    live: Carried | str | None,
    config: Config,
    prepared: Prepared,
    learned: Mapping[Model, Iterable[Block]],
) -> Start:
    """What models start from.

    Args:
        live: What the live version carries, or why it carries nothing; None
            where nobody asked.
        config: Of the run.
        prepared: Its tables.
        learned: What each of the models is to learn.
    """
    if not isinstance(live, Carried):
        return Start(why=live or "")
    facts = live.facts
    if facts.split != prepared.split:
        return Start(why=f"prepare.split was {facts.split!r}")
    if facts.split == "random":
        why = "a random split is drawn anew: what is asked now was learned then"
        return Start(why=why)
    if "base" in learned:
        for name in _SAME:
            now, then = getattr(config.retrieval, name), getattr(facts, name)
            if now not in (then, "auto"):
                return Start(why=f"retrieval.{name} is {now}, was {then}")
    for model, blocks in learned.items():
        if not live.has(model):
            return Start(why=f"version {live.version} carries no {model}")
        if count := live.seen(model).known(prepared, blocks):
            why = (
                f"{model} of version {live.version} has learned from {count:,} "
                "interactions that are held out, validation or test now. Did "
                "the log lose its newest ones, or the split change?"
            )
            return Start(why=why)
    return Start(live)
