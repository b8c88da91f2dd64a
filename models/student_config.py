"""Options of the on-device student: frozen, self-validating."""

from dataclasses import dataclass
from typing import Literal

from models.config import check, rules


@dataclass(frozen=True)
class StudentConfig:
    """The on-device model: small, built-in TFLite operations only.

    Attributes:
        encoder: "bow" means weighted by recency, "cnn" the same over a
            convolution, "rnn" a GRU, "attention" means weighted by recency
            and by affinity to the last item.
        embedding_dim: Width of the item table.
        history_length: Item indices the model reads.
        num_recommendations: Items it returns. More than an app shows: what a
            user had longer ago than `history_length` items is taken out of
            them. On ML-100K 30 gave a validation NDCG@10 of .150, 10 gave
            .146, and more nothing more.
        num_heads: Means of a history, each with weights of its own ("rnn" has
            one state instead).
        hidden_units: Width of the layer between history and query.
        item_id: Whether items have an embedding of their own. False makes
            the student feature-based.
        item_features: Item columns used; ["*"] takes all that are not
            numeric.
        dropout: Share of activations dropped in training.
        mix: Weight of the teacher's scores in the loss, the rest is that of
            what came next; 0 trains without a teacher. Chosen on validation,
            NDCG@10 on ML-100K after 8 epochs over the last 50 items: .133 at
            0, .143 at .5, .141 at 1, and over the last 100 items .134 at 0,
            .149 at .7 (the teacher: .147).
        temperature: The teacher's and the student's scores are divided by it
            before they are compared; 2 gave .131 in place of .143.
        compare: Whether the same student is also trained without a teacher,
            to see what the teacher is worth.
        precision: Of the published file; "auto" takes the smallest one within
            1 % of float32's NDCG@10.
        max_histories: Histories trained on, drawn from the log; 0 for all.
        full_softmax_below: Catalogue size up to which a target competes with
            all items; beyond, with the teacher's candidates and
            `num_uniform_negatives`.
        num_uniform_negatives: See above.
        batch_size: Histories in a training step. 0 takes as many as make some
            250 steps an epoch, a power of 2 from 64 to 512: where there are
            few histories the number of steps counts. Of 36,000 (six a user
            of ML-1M) 128 gave a validation NDCG@10 of .112 without a
            teacher, 64 the same, 512 gave .094. ML-100K keeps 512 (.139 without
            a teacher; 256 gave .143 there in 1.15 times the time).
        epochs: Passes over the histories.
        learning_rate: Peak of the schedule.
        weight_decay: AdamW decay of every matrix.
        averaging: Momentum of the averaged weights that are kept.
    """

    encoder: Literal["bow", "cnn", "rnn", "attention"] = "attention"
    embedding_dim: int = 32
    history_length: int = 100
    num_recommendations: int = 30
    num_heads: int = 3
    hidden_units: int = 32
    item_id: bool = True
    item_features: tuple[str, ...] = ()
    dropout: float = 0.1
    mix: float = 0.7
    temperature: float = 1.0
    compare: bool = True
    precision: Literal["auto", "float32", "float16", "int8"] = "auto"
    max_histories: int = 100_000
    full_softmax_below: int = 20_000
    num_uniform_negatives: int = 4096
    batch_size: int = 0
    epochs: int = 10
    learning_rate: float = 0.005
    weight_decay: float = 0.01
    averaging: float = 0.99

    def __post_init__(self) -> None:
        check(
            (
                self.encoder in ("bow", "cnn", "rnn", "attention"),
                "`encoder` must be bow, cnn, rnn or attention. Received: "
                f"{self.encoder!r}.",
            ),
            *(
                (
                    value >= 1,
                    f"`{name}` must be at least 1. Received: {value}.",
                )
                for name, value in (
                    ("embedding_dim", self.embedding_dim),
                    ("history_length", self.history_length),
                    ("num_recommendations", self.num_recommendations),
                    ("num_heads", self.num_heads),
                    ("hidden_units", self.hidden_units),
                    ("epochs", self.epochs),
                    ("num_uniform_negatives", self.num_uniform_negatives),
                )
            ),
            *rules(
                self,
                (
                    "max_histories",
                    "full_softmax_below",
                    "batch_size",
                    "weight_decay",
                ),
                lambda value: value >= 0,
                "at least 0",
            ),
            *rules(
                self,
                ("dropout", "averaging"),
                lambda value: 0 <= value < 1,
                "at least 0 and below 1",
            ),
            *rules(
                self,
                ("temperature", "learning_rate"),
                lambda value: value > 0,
                "above 0",
            ),
            (
                0 <= self.mix <= 1,
                f"`mix` must be from 0 to 1. Received: {self.mix}.",
            ),
            (
                self.item_id or bool(self.item_features),
                "`item_features` must name a column where `item_id` is false, "
                "or items cannot be told apart. Received: [].",
            ),
        )
