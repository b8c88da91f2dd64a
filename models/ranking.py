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
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from models.config import PADDING, FeatureSpec, RankingConfig
from models.features import FeatureEncoder
from models.rating import RatingHead
from models.signals import Signals

_FEATURE_WIDTH = 8
# Depth of the feature cross (DCN-v2), widths of the dense layers beside it and
# share of activations dropped in training.
_NUM_CROSSES = 2
_HIDDEN_UNITS = (64, 32)
_DROPOUT = 0.1


class Scorer(tf.keras.Model):
    """The part of ranking that is trained: signals and features to scores.

    Args:
        config: Which groups of inputs are on.
        num_signals: S.
        items: Encoded item columns `[N, ...]` by name.
        item_specs: Their kinds.
        user_specs: Columns of the users table.
        context_specs: Columns of a request.
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
        item_specs: tuple[FeatureSpec, ...],
        user_specs: tuple[FeatureSpec, ...],
        context_specs: tuple[FeatureSpec, ...],
        num_taken: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_taken = num_taken
        has_items = "items" in config.features and item_specs
        has_query = "query" in config.features and (user_specs or context_specs)
        self.items = (
            FeatureEncoder(item_specs, _FEATURE_WIDTH, name="items")
            if has_items
            else None
        )
        self.users = (
            FeatureEncoder(user_specs, _FEATURE_WIDTH, name="users")
            if has_query and user_specs
            else None
        )
        self.context = (
            FeatureEncoder(context_specs, _FEATURE_WIDTH, name="context")
            if has_query and context_specs
            else None
        )
        self.table = {
            spec.name: tf.Variable(
                items[spec.name], trainable=False, name=f"{spec.name}_values"
            )
            for spec in (item_specs if has_items else ())
        }
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
        history: tf.Tensor,
        user_features: Mapping[str, tf.Tensor],
        context: Mapping[str, tf.Tensor],
        candidates: tf.Tensor,
        training: bool = False,
    ) -> tf.Tensor:
        """Rescored candidates `[B, C]`.

        Args:
            scores: Retrieval scores `[B, C]`.
            signals: `[B, C, S]`.
            history: int32 `[B, L]`.
            user_features: Encoded columns `[B, ...]`.
            context: Encoded columns `[B, ...]`.
            candidates: int32 `[B, C]`.
            training: Whether dropout acts.
        """
        parts = [tf.clip_by_value((signals - self.mean) / self.std, -5.0, 5.0)]
        query = tf.zeros([tf.shape(scores)[0], _FEATURE_WIDTH])
        if self.users is not None:
            query += self.users(user_features)
        if self.context is not None:
            query += self.context(context)
        if self.items is not None:
            candidate = self._describe(self.items, candidates)
            past = self._describe(self.items, history)
            there = tf.cast(history != PADDING, tf.float32)[..., tf.newaxis]
            age = tf.range(tf.shape(history)[1] - 1, -1, -1)
            there *= 0.9 ** tf.cast(age, tf.float32)[:, tf.newaxis]
            query += tf.math.divide_no_nan(
                tf.reduce_sum(past * there, axis=1),
                tf.reduce_sum(there, axis=1),
            )
            parts += [candidate, candidate * query[:, tf.newaxis]]
        if self.items is not None or self.users or self.context:
            # The candidate's scores give the shape to broadcast to.
            parts.append(
                query[:, tf.newaxis] + tf.zeros_like(scores)[..., tf.newaxis]
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

    def _describe(self, encoder: FeatureEncoder, items: tf.Tensor) -> tf.Tensor:
        return encoder(
            {name: tf.gather(rows, items) for name, rows in self.table.items()}
        )


class RankingModel(tf.keras.Model):
    """Signals, scorer and rating head: all that one request needs.

    Args:
        signals: With the towers and tables to serve with.
        scorer: Trained.
        rating: Trained, None where there are no ratings.
    """

    def __init__(
        self,
        signals: Signals,
        scorer: Scorer,
        rating: RatingHead | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.signals = signals
        self.scorer = scorer
        self.rating = rating

    def call(
        self,
        history: tf.Tensor,
        user_index: tf.Tensor,
        user_features: Mapping[str, tf.Tensor],
        context: Mapping[str, tf.Tensor],
        candidates: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Scores candidates for queries.

        Args:
            history: int32 `[B, L]`, most recent last, 0 pads on the left.
            user_index: int32 `[B]`.
            user_features: Encoded columns `[B, ...]`.
            context: Encoded columns `[B, ...]`.
            candidates: int32 `[B, C]`, 0 pads.

        Returns:
            `scores` `[B, C]` and, with a rating head, `predicted_rating`
            `[B, C]`.
        """
        scores, signals = self.signals(
            history, user_index, user_features, context, candidates
        )
        outputs = {
            "scores": self.scorer(
                scores, signals, history, user_features, context, candidates
            )
        }
        if self.rating is not None:
            outputs["predicted_rating"] = self.rating(
                history, user_index, candidates
            )
        return outputs


def listwise_loss(scores: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
    """Softmax cross-entropy of the first candidate of each list, `[B]`.

    Args:
        scores: `[B, C]`.
        candidates: int32 `[B, C]`, the target first, 0 pads.
    """
    masked = tf.where(candidates == PADDING, -1e9, scores)
    return tf.reduce_logsumexp(masked, axis=1) - scores[:, 0]
