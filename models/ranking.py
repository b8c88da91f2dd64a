"""Ranking: the retrieved few hundred, in the order to show them.

Retrieval must score a whole catalogue with one dot product; ranking sees few
candidates and can afford more: signals of co-occurrence, popularity and
similarity (`models.signals`), item, user and request features, and their
crosses (DCN-v2, https://arxiv.org/abs/2008.13535). It starts as the retrieval
score itself and learns only corrections to it, so that little data cannot
make it worse than retrieval by much.

Shape letters: B queries, C candidates, L history, S signals, F features.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from models.config import PADDING, FeatureSpec, RankingConfig
from models.layers import features
from models.layers.features import FeatureEncoder
from models.query import Query
from models.rating import RatingHead
from models.signals import Signals

_FEATURE_WIDTH = 8
# Depth of the feature cross (DCN-v2), widths of the dense layers beside it and
# share of activations dropped in training.
_NUM_CROSSES = 2
_HIDDEN_UNITS = (64, 32)
_DROPOUT = 0.1


class Specs(NamedTuple):
    """The columns of items, users and requests."""

    items: tuple[FeatureSpec, ...] = ()
    users: tuple[FeatureSpec, ...] = ()
    context: tuple[FeatureSpec, ...] = ()


class Scorer(tf.keras.Model):
    """The part of ranking that is trained: signals and features to scores.

    Args:
        num_signals: S.
        specs: Columns of items, users and requests.
        num_taken: The last signals, of what stands in the history. They are
            left on their scale of logs: few candidates have any, so that in
            units of their spread the many would be clipped.

    Attributes:
        mean: Of each signal in training `[S]`.
        std: Of each signal in training `[S]`.
    """

    def __init__(
        self,
        config: RankingConfig,
        num_signals: int,
        items: Mapping[str, np.ndarray],
        specs: Specs,
        num_taken: int = 0,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self.num_taken = num_taken
        if "items" not in config.features:
            specs = specs._replace(items=())
        if "query" not in config.features:
            specs = specs._replace(users=(), context=())
        self.has_features = any(specs)
        self.items, self.users, self.context = (
            FeatureEncoder(found, _FEATURE_WIDTH, name=name)
            for name, found in specs._asdict().items()
        )
        self.table = features.constants(specs.items, items)
        self.mean = self.add_weight(
            name="mean", shape=[num_signals], trainable=False
        )
        self.std = self.add_weight(
            name="std",
            shape=[num_signals],
            initializer="ones",
            trainable=False,
        )
        self.scale = self.add_weight(name="scale", shape=[], initializer="ones")
        self.crosses = [
            tfrs.layers.dcn.Cross(name=f"cross_{depth}")
            for depth in range(_NUM_CROSSES)
        ]
        self.hidden = [
            tf.keras.layers.Dense(width, "gelu", name=f"hidden_{depth}")
            for depth, width in enumerate(_HIDDEN_UNITS)
        ]
        self.dropout = tf.keras.layers.Dropout(_DROPOUT)
        # Zero at the start: training begins with the order of retrieval.
        self.last = tf.keras.layers.Dense(
            1, kernel_initializer="zeros", use_bias=False, name="last"
        )

    def call(
        self,
        scores: tf.Tensor,
        signals: tf.Tensor,
        query: Query,
        candidates: tf.Tensor,
        training: bool = False,
    ) -> tf.Tensor:
        """Retrieval scores with their corrections, `[B, C]`.

        Args:
            signals: `[B, C, S]`.
            candidates: int32 `[B, C]`.
        """
        history = query.history
        parts = [tf.clip_by_value((signals - self.mean) / self.std, -5.0, 5.0)]
        asks = tf.zeros([tf.shape(scores)[0], _FEATURE_WIDTH])
        asks += self.users(query.user_features)
        asks += self.context(query.context)
        if self.table:
            candidate = self.items(features.lookup(self.table, candidates))
            past = self.items(features.lookup(self.table, history))
            there = tf.cast(history != PADDING, tf.float32)[..., tf.newaxis]
            age = tf.range(tf.shape(history)[1] - 1, -1, -1)
            there *= 0.9 ** tf.cast(age, tf.float32)[:, tf.newaxis]
            asks += tf.math.divide_no_nan(
                tf.reduce_sum(past * there, axis=1),
                tf.reduce_sum(there, axis=1),
            )
            parts += [candidate, candidate * asks[:, tf.newaxis]]
        if self.has_features:
            # The candidate's scores give the shape to broadcast to.
            parts.append(
                asks[:, tf.newaxis] + tf.zeros_like(scores)[..., tf.newaxis]
            )
        inputs = self.dropout(tf.concat(parts, axis=-1), training=training)
        crossed = inputs
        for cross in self.crosses:
            crossed = cross(inputs, crossed)
        deep = inputs
        for layer in self.hidden:
            deep = self.dropout(layer(deep), training=training)
        change = self.last(tf.concat([crossed, deep], axis=-1))[..., 0]
        return self.scale * scores + change

    def standardise(self, signals: np.ndarray) -> None:
        """Takes mean and spread from training signals `[rows, S]`."""
        mean, std = signals.mean(axis=0), signals.std(axis=0)
        first = len(mean) - self.num_taken
        mean[first:], std[first:] = 0.0, 1.0
        self.mean.assign(mean)
        self.std.assign(np.maximum(std, 1e-3))


class RankingModel(tf.keras.Model):
    """Signals, scorer and rating head: all that one request needs.

    Args:
        rating: Trained, None where there are no ratings.
    """

    def __init__(
        self,
        signals: Signals,
        scorer: Scorer,
        rating: RatingHead | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self.signals = signals
        self.scorer = scorer
        self.rating = rating

    def call(
        self,
        query: Query,
        candidates: tf.Tensor,
        asked: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Scores candidates int32 `[B, C]`, 0 pads.

        Args:
            asked: As `Signals` takes it.

        Returns:
            `scores` `[B, C]` and, with a rating head, `predicted_rating`
            `[B, C]`.
        """
        scores, signals = self.signals(query, candidates, asked)
        outputs = {"scores": self.scorer(scores, signals, query, candidates)}
        if self.rating is not None:
            outputs["predicted_rating"] = self.rating(
                query.history, query.user_index, candidates
            )
        return outputs


def listwise_loss(scores: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """Softmax cross-entropy of the first of candidates `[B, C]`: `[B]`."""
    masked = tf.where(candidates == PADDING, -1e9, scores)
    return tf.reduce_logsumexp(masked, axis=1) - scores[:, 0]
