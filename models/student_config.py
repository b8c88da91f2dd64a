"""Options of the on-device student."""

from dataclasses import dataclass
from typing import Literal

from models.config import Count, Options, has_items


@dataclass(frozen=True)
class StudentConfig(Options):
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
        item_id: Whether items have an embedding of their own. False makes
            the student feature-based.
        max_items: Most wanted items that the student knows, or "all"; others
            are unknown to it, in histories and as answers. A file for a
            device has no place for a million rows.
        item_features: Item columns used; ["*"] takes all that are not
            numeric.
        precision: Of the published file; "auto" takes the smallest one within
            1 % of float32's NDCG@10.
        max_histories: Histories trained on, drawn from the log, or "all".
        epochs: Passes over the histories.
    """

    encoder: Literal["bow", "cnn", "rnn", "attention"] = "attention"
    embedding_dim: Count = 32
    history_length: Count = 100
    num_recommendations: Count = 30
    item_id: bool = True
    max_items: Count | Literal["all"] = 100_000
    item_features: tuple[str, ...] = ()
    precision: Literal["auto", "float32", "float16", "int8"] = "auto"
    max_histories: Count | Literal["all"] = 100_000
    epochs: Count = 10

    def _rules(self) -> list[tuple[bool, str]]:
        return [has_items(self.item_id, self.item_features, "item_id")]
