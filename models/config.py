"""Option dataclasses of the models: frozen, self-validating, no TensorFlow.

Each class checks itself when it is made and raises one `ConfigError` that
lists every broken rule; `pipeline.run.config` adds the file and section.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

# What the first indices of every vocabulary mean, of items and users too.
PADDING, UNKNOWN, FIRST_ITEM = 0, 1, 2

Encoder = Literal["auto", "bow", "cnn", "rnn", "attention"]
FeatureKind = Literal["categorical", "multi_categorical", "numeric", "text"]


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
class RetrievalConfig:
    """The two-tower model and its training.

    Attributes:
        encoder: What turns the history into a query: "bow" a decayed mean,
            "cnn" dilated convolutions, "rnn" a GRU, "attention" causal
            self-attention. "auto" takes attention; where fewer than 300,000
            targets make it cheap, training tries a decayed mean beside it and
            keeps the better one on validation.
        embedding_dim: Width of both towers, before one bias dimension.
        history_length: Most recent items read; older ones are ignored.
        num_layers: Encoder depth ("bow" has none).
        num_heads: Attention heads; for "bow" the number of decay rates. Each
            starts with a rate of its own in both.
        dropout: Share of activations dropped in training.
        item_id: Whether known items have an embedding of their own. False
            makes the towers feature-based.
        max_id_rows: Rows that the table of item ids, and that of user ids,
            may have; 0 gives every known id its own. Beyond it the most
            frequent ids, half as many as rows, keep their own and the others
            are hashed.
        num_id_hashes: Rows that make up a hashed id, 1 to 4.
        item_features: Item columns used; ["*"] takes all that the source
            declares.
        user_id: Whether known users have an embedding of their own.
        history_id: Whether known items have another embedding for when they
            stand in the history. What follows an item is then learned apart
            from what it is like: better where order decides.
        user_features: User columns used; ["*"] takes all.
        context_features: Request columns used; ["*"] takes all.
        id_dropout: Share of items and users treated as unknown in a training
            step, so that features learn to answer for unseen ones.
        loss: "full" softmax over the whole catalogue, "in_batch" over the
            batch's own targets with logQ, "auto" takes full up to
            `full_softmax_below` items where items times targets stay below
            10 billion, some two minutes an epoch on two cores.
        full_softmax_below: Catalogue size up to which "auto" takes "full".
        num_in_batch_negatives: Targets of the batch kept as negatives of
            every query; 0 keeps all.
        num_uniform_negatives: Items drawn uniformly from the catalogue and
            added to the in-batch negatives (mixed negative sampling).
        num_mined_negatives: Items drawn from the nearest neighbours of the
            batch's targets and added to the negatives; who is near is found
            anew at the start of every epoch.
        num_hard_negatives: Negatives kept a query, those with the highest
            logits; 0 keeps all.
        remove_accidental_hits: Whether a negative that is the query's own
            target is masked.
        logq: Whether logits are corrected for how often an item is sampled.
        temperature: Logits are divided by it.
        label_smoothing: Probability spread over the whole catalogue, "full"
            only.
        batch_positions: Targets in a training step, about. 0 takes as many as
            make some 200 steps an epoch, a power of 2 from 128 to 4096.
        learning_rate: Peak of the schedule. On validation half of the default
            is as good on MovieLens 100K and behind on MovieLens 1M, on the
            sample and on a log of eight interactions a user.
        warmup_share: Share of all steps with a rising learning rate; it falls
            to a tenth as a cosine afterwards.
        weight_decay: AdamW decay of every matrix.
        clip_norm: Largest global gradient norm.
        averaging: Momentum of the averaged weights that are kept; 0 keeps
            the last ones.
        epochs: Passes over the targets at most.
        patience: Validations without a better NDCG@100 before training stops.
        validation_users: Users drawn for validation, 0 for all.
        recency_half_life: Share of the train part's duration after which a
            target counts half, 0 for equal weights. Temporal splits only.
        recent_popularity: Whether candidates carry how popular they were of
            late, each training target as it was then. Temporal splits only.
        horizon: How many interactions ahead a state learns to predict, each
            target drawn back by up to that many less one. 1 predicts the next
            item. 0 is 1 but for temporal splits, where one answer a user
            stands for the whole part: there requests are drawn from the time
            before a target, up to the validation part's duration, and ask for
            as many interactions as its median user has.
        refit: Whether the final model also trains on the validation part.
        ranking_holdout: Share of the train targets the base model does not
            train on; the ranking model learns from lists made there.
        streaming: Whether training reads the log row group by row group
            instead of holding it: "auto" goes by `stream_above`.
        stream_above: Interactions beyond which "auto" streams.
        shuffle_interactions: Interactions of row groups from all over the
            log that a stream holds to draw batches from, about.
    """

    encoder: Encoder = "auto"
    embedding_dim: int = 64
    history_length: int = 100
    num_layers: int = 2
    num_heads: int = 2
    dropout: float = 0.2
    item_id: bool = True
    max_id_rows: int = 0
    num_id_hashes: int = 2
    item_features: tuple[str, ...] = ("*",)
    user_id: bool = False
    history_id: bool = False
    user_features: tuple[str, ...] = ("*",)
    context_features: tuple[str, ...] = ("*",)
    id_dropout: float = 0.05
    loss: Literal["auto", "full", "in_batch"] = "auto"
    full_softmax_below: int = 20_000
    num_in_batch_negatives: int = 0
    num_uniform_negatives: int = 512
    num_mined_negatives: int = 0
    num_hard_negatives: int = 0
    remove_accidental_hits: bool = True
    logq: bool = True
    temperature: float = 1.0
    label_smoothing: float = 0.0
    batch_positions: int = 0
    learning_rate: float = 0.01
    warmup_share: float = 0.05
    weight_decay: float = 0.01
    clip_norm: float = 5.0
    averaging: float = 0.998
    epochs: int = 16
    patience: int = 3
    validation_users: int = 5000
    recency_half_life: float = 0.0
    recent_popularity: bool = True
    horizon: int = 0
    refit: bool = True
    ranking_holdout: float = 0.1
    streaming: Literal["auto", "always", "never"] = "auto"
    stream_above: int = 20_000_000
    shuffle_interactions: int = 2_000_000

    def __post_init__(self) -> None:
        counts = (
            "embedding_dim",
            "history_length",
            "num_heads",
            "epochs",
            "patience",
            "shuffle_interactions",
        )
        naturals = (
            "num_layers",
            "stream_above",
            "full_softmax_below",
            "num_in_batch_negatives",
            "num_uniform_negatives",
            "num_mined_negatives",
            "num_hard_negatives",
            "batch_positions",
            "validation_users",
            "horizon",
        )
        shares = (
            "dropout",
            "id_dropout",
            "label_smoothing",
            "warmup_share",
            "averaging",
            "ranking_holdout",
        )
        positives = ("temperature", "learning_rate", "clip_norm")
        check(
            *rules(self, counts, lambda value: value >= 1, "at least 1"),
            *rules(self, naturals, lambda value: value >= 0, "at least 0"),
            *rules(
                self,
                shares,
                lambda value: 0 <= value < 1,
                "at least 0 and below 1",
            ),
            *rules(self, positives, lambda value: value > 0, "above 0"),
            *rules(
                self,
                ("weight_decay", "recency_half_life"),
                lambda value: value >= 0,
                "at least 0",
            ),
            (
                self.num_heads < 1 or self.embedding_dim % self.num_heads == 0,
                "`embedding_dim` must be a multiple of `num_heads`. Received: "
                f"{self.embedding_dim} and {self.num_heads}.",
            ),
            (
                self.max_id_rows == 0 or self.max_id_rows >= 16,
                "`max_id_rows` must be 0 or at least 16. Received: "
                f"{self.max_id_rows}.",
            ),
            (
                1 <= self.num_id_hashes <= 4,
                "`num_id_hashes` must be 1 to 4. Received: "
                f"{self.num_id_hashes}.",
            ),
            (
                self.item_id or bool(self.item_features),
                "`item_features` must name a column where `item_id` is false, "
                "or items cannot be told apart. Received: [].",
            ),
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
class RankingConfig:
    """The model that rescores retrieved candidates, and its training.

    Attributes:
        features: Groups of inputs; leave one out to see what it is worth.
            "retrieval" score and rank, "cooccurrence" of candidate and recent
            history, "popularity" with its trend and age, "attention" over the
            history, "items" numeric columns and the vectors' products,
            "query" history length, user and context columns.
        list_size: Candidates in a training list, the target among them.
        num_random_negatives: Of them drawn from the whole catalogue.
        num_neighbours: Neighbours an item keeps in a co-occurrence table.
        history_length: Most recent items that co-occurrence looks at.
        num_cross_layers: Depth of the feature cross (DCN-v2).
        hidden_units: Widths of the dense layers beside the cross.
        dropout: Share of activations dropped in training.
        learning_rate: Of Adam.
        weight_decay: AdamW decay of every matrix.
        batch_size: Lists in a training step.
        epochs: Passes over the lists at most. The learning rate falls over
            all of them: with many, training stops while it is still high.
        patience: Validations without a better NDCG@10 before training stops.
        max_lists: Training lists at most, drawn at random; 0 for all.
        predict_ratings: Whether a rating head is trained where ratings exist.
    """

    features: tuple[str, ...] = RANKING_FEATURES
    list_size: int = 200
    num_random_negatives: int = 0
    num_neighbours: int = 100
    history_length: int = 30
    num_cross_layers: int = 2
    hidden_units: tuple[int, ...] = (64, 32)
    dropout: float = 0.1
    learning_rate: float = 0.005
    weight_decay: float = 0.05
    batch_size: int = 128
    epochs: int = 8
    patience: int = 3
    max_lists: int = 50_000
    predict_ratings: bool = True

    def __post_init__(self) -> None:
        counts = (
            "num_neighbours",
            "history_length",
            "batch_size",
            "epochs",
            "patience",
        )
        naturals = ("num_random_negatives", "num_cross_layers", "max_lists")
        unknown = sorted(set(self.features) - set(RANKING_FEATURES))
        check(
            *rules(self, counts, lambda value: value >= 1, "at least 1"),
            *rules(self, naturals, lambda value: value >= 0, "at least 0"),
            *rules(
                self, ("learning_rate",), lambda value: value > 0, "above 0"
            ),
            *rules(
                self, ("weight_decay",), lambda value: value >= 0, "at least 0"
            ),
            (
                0 <= self.dropout < 1,
                "`dropout` must be at least 0 and below 1. Received: "
                f"{self.dropout}.",
            ),
            (
                not unknown,
                f"`features` must be among {', '.join(RANKING_FEATURES)}. "
                f"Received: {', '.join(unknown)}.",
            ),
            (
                self.list_size >= 2 + self.num_random_negatives,
                "`list_size` must leave room for the target and a retrieved "
                "candidate beside `num_random_negatives`. Received: "
                f"{self.list_size} and {self.num_random_negatives}.",
            ),
            (
                all(width >= 1 for width in self.hidden_units),
                "`hidden_units` must be at least 1. Received: "
                f"{list(self.hidden_units)}.",
            ),
        )


def rules(
    options: object,
    names: Iterable[str],
    holds: Callable[[float], bool],
    permitted: str,
) -> list[tuple[bool, str]]:
    """One rule for each of several numbers."""
    return [
        (
            holds(getattr(options, name)),
            f"`{name}` must be {permitted}. Received: "
            f"{getattr(options, name)}.",
        )
        for name in names
    ]
