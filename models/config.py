"""Option dataclasses of the models: frozen, self-validating, no TensorFlow.

Each class checks itself when it is made and raises one `ConfigError` that
lists every broken rule; `pipeline.run.config` adds the file and section.

All options speak alike: a number is that number, 0 is zero, "auto" is decided
from the data (`pipeline.run.auto`), "all" is a word, and an empty text or list
stands for none.
"""

import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

# What the first indices of every vocabulary mean, of items and users too.
PADDING, UNKNOWN, FIRST_ITEM = 0, 1, 2

Encoder = Literal["auto", "bow", "cnn", "rnn", "attention"]
FeatureKind = Literal["categorical", "multi_categorical", "numeric", "text"]

# Numbers with the range that they are held to.
_RANGES: Mapping[str, Callable[[float], bool]] = {
    "at least 1": lambda value: value >= 1,
    "above 0": lambda value: value > 0,
    "above 0 and at most 1": lambda value: 0 < value <= 1,
    "at least 0 and below 1": lambda value: 0 <= value < 1,
    "between 0 and 1": lambda value: 0 <= value <= 1,
}
Count = Annotated[int, "at least 1"]
Rate = Annotated[float, "above 0"]
Part = Annotated[float, "at least 0 and below 1"]
Share = Annotated[float, "between 0 and 1"]
PositiveShare = Annotated[float, "above 0 and at most 1"]


class ConfigError(ValueError):
    """Options that break a rule.

    Attributes:
        problems: One sentence each: the rule, what was received, what to do.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (
            [problems] if isinstance(problems, str) else list(problems)
        )
        super().__init__("\n".join(self.problems))


def check(*rules: tuple[bool, str]) -> None:
    """Raises one `ConfigError` with the message of every rule that is false.

    Raises:
        ConfigError: If any rule does not hold.
    """
    problems = [message for holds, message in rules if not holds]
    if problems:
        raise ConfigError(problems)


class Options:
    """What a dataclass of options is: it checks itself when it is made.

    Raises:
        ConfigError: If numbers are out of the range of their type, or what a
            section demands beside does not hold.
    """

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self), include_extras=True)
        ranges = [
            _in_range(name, getattr(self, name), hint)
            for name, hint in hints.items()
        ]
        check(*ranges, *self._rules())

    def _rules(self) -> Iterable[tuple[bool, str]]:
        # What else must hold, and what to say where it does not.
        return []


def at_most(limit: int | Literal["all"]) -> int:
    """A limit as a number; "all" is one that nothing reaches."""
    return sys.maxsize if limit == "all" else limit


def _in_range(name: str, value: object, hint: object) -> tuple[bool, str]:
    """The rule of one option; a word such as "all" may stand for a number."""
    choices = (hint, *typing.get_args(hint))
    range_ = next(
        (c.__metadata__[0] for c in choices if hasattr(c, "__metadata__")), ""
    )
    if not isinstance(value, int | float) or not range_:
        return True, ""
    words = [
        f' or "{word}"'
        for choice in choices
        if typing.get_origin(choice) is Literal
        for word in typing.get_args(choice)
    ]
    return (
        _RANGES[range_](value),
        f"`{name}` must be {range_}{''.join(words)}. Received: {value}.",
    )


@dataclass(frozen=True)
class FeatureSpec:
    """One encoded feature column as a tower sees it.

    Attributes:
        name: Column name in the items, users or interactions table.
        kind: How the column is encoded.
        size: Indices in use, with 0 (padding) and 1 (out of vocabulary);
            0 for numeric features.
        width: Values a row at most; 1 unless multi_categorical or text.
        mean: Of the train part, numeric features only.
        std: Of the train part, numeric features only; never 0.
    """

    name: str
    kind: FeatureKind
    size: int = 0
    width: int = 1
    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True)
class RetrievalConfig(Options):
    """The two-tower model and its training.

    Attributes:
        encoder: What turns the history into a query: "bow" a decayed mean,
            "cnn" dilated convolutions, "rnn" a GRU, "attention" causal
            self-attention. "auto" takes attention; where fewer than 300,000
            targets make it cheap, training tries a decayed mean beside it and
            keeps the better one on validation.
        embedding_dim: Width of both towers, before one bias dimension.
        history_length: Most recent items read; older ones are ignored.
        num_heads: Attention heads; for "bow" the number of decay rates. Each
            starts with a rate of its own in both.
        dropout: Share of activations dropped in training.
        ids: What has an embedding of its own: known "item"s (without it the
            towers are feature-based), known "user"s, and items when they stand
            in the "history". With that, what follows an item is learned apart
            from what it is like: better where order decides.
        max_id_rows: Rows that the table of item ids, and that of user ids,
            may have; "all" gives every known id its own. Beyond it the most
            frequent ids, half as many as rows, keep their own and the others
            are hashed.
        item_features: Item columns used; ["*"] takes all that the source
            declares.
        id_dropout: Share of items and users treated as unknown in a training
            step, so that features learn to answer for unseen ones.
        loss: "full" softmax over the whole catalogue, "in_batch" over the
            batch's own targets and 512 items drawn from the catalogue, with
            logQ, "mined" over those and 512 of the nearest neighbours of the
            batch's targets, found anew at the start of every epoch; "auto"
            takes full up to 20,000 items where items times targets stay below
            10 billion, some two minutes an epoch on two cores, else in_batch.
        batch_positions: Targets in a training step, about. "auto" takes as
            many as make some 200 steps an epoch, a power of 2 from 128 to
            4096.
        learning_rate: Peak of the schedule. On validation half of the default
            is as good on MovieLens 100K and behind on MovieLens 1M, on the
            sample and on a log of eight interactions a user.
        epochs: Passes over the targets at most; three validations without a
            better NDCG@100 end training before.
        refit: Whether the final model also trains on the validation part.
        ranking_holdout: Share of the train targets the base model does not
            train on; the ranking model learns from lists made there.
    """

    encoder: Encoder = "auto"
    embedding_dim: Count = 64
    history_length: Count = 100
    num_heads: Count = 2
    dropout: Part = 0.2
    ids: tuple[Literal["item", "user", "history"], ...] = ("item",)
    max_id_rows: int | Literal["all"] = "all"
    item_features: tuple[str, ...] = ("*",)
    id_dropout: Part = 0.05
    loss: Literal["auto", "full", "in_batch", "mined"] = "auto"
    batch_positions: Count | Literal["auto"] = "auto"
    learning_rate: Rate = 0.01
    epochs: Count = 16
    refit: bool = True
    ranking_holdout: Part = 0.1

    def _rules(self) -> list[tuple[bool, str]]:
        return [
            (
                self.num_heads < 1 or self.embedding_dim % self.num_heads == 0,
                "`embedding_dim` must be a multiple of `num_heads`. Received: "
                f"{self.embedding_dim} and {self.num_heads}.",
            ),
            (
                self.max_id_rows == "all" or self.max_id_rows >= 16,
                '`max_id_rows` must be at least 16 or "all". Received: '
                f"{self.max_id_rows}.",
            ),
            has_items("item" in self.ids, self.item_features, "ids"),
        ]


def has_items(
    by_id: bool, item_features: tuple[str, ...], option: str
) -> tuple[bool, str]:
    """The rule that something tells items apart; `option` says if ids do."""
    return (
        by_id or bool(item_features),
        "`item_features` must name a column where items have no ids "
        f"(`{option}`), or they cannot be told apart. Received: [].",
    )


RANKING_FEATURES = (
    "retrieval",
    "cooccurrence",
    "popularity",
    "attention",
    "items",
    "query",
)


@dataclass(frozen=True)
class RankingConfig(Options):
    """The model that rescores retrieved candidates, and its training.

    Attributes:
        features: Groups of inputs; leave one out to see what it is worth.
            "retrieval" score and rank, "cooccurrence" of candidate and recent
            history, "popularity" with its trend and age, "attention" over the
            history, "items" numeric columns and the vectors' products,
            "query" history length, user and context columns.
        epochs: Passes over the lists at most; three validations without a
            better NDCG@10 end training before. The learning rate falls over
            all of them: with many, training stops while it is still high.
    """

    features: tuple[str, ...] = RANKING_FEATURES
    epochs: Count = 8

    def _rules(self) -> list[tuple[bool, str]]:
        unknown = sorted(set(self.features) - set(RANKING_FEATURES))
        return [
            (
                not unknown,
                f"`features` must be among {', '.join(RANKING_FEATURES)}. "
                f"Received: {', '.join(unknown)}.",
            ),
        ]
