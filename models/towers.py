"""The two sides of retrieval: who asks and what is scored.

`CandidateTower` turns an item index (or explicit features) into a vector,
`QueryTower` a history with user and request features. The score is their dot
product and nothing else: the item bias is folded into the
vectors, so any nearest-neighbour index can serve them. Towers take integers
and numbers; strings are looked up before them.

Shape letters: B batch, L history positions, W width inside, D = W + 1 + H
width outside (bias and H popularities), N + 2 rows of the catalogue.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from models.config import (
    FIRST_ITEM,
    PADDING,
    UNKNOWN,
    FeatureSpec,
    RetrievalConfig,
)
from models.layers import draws, features
from models.layers import history as encoders
from models.layers import ids as tables
from models.layers.features import FeatureEncoder, Rows
from models.lazy_adam import Read


@dataclass(frozen=True)
class CandidateInputs:
    """What the candidate tower knows about the catalogue.

    Attributes:
        features: Encoded columns `[N + 2, ...]` by name.
        specs: Their kinds and sizes.
        num_known: First index without an id embedding of its own.
        counts: Training targets by item index `[N + 2]`.
        popularity: How popular each item is now `[N + 2, H]`; None for H = 0.
    """

    features: Mapping[str, np.ndarray]
    specs: tuple[FeatureSpec, ...]
    num_known: int
    counts: np.ndarray
    popularity: np.ndarray | None = None


class CandidateTower(tf.keras.Model):
    """Item index to vector; the encoded feature table travels inside.

    An index of `num_known` or above has no id embedding: it is answered from
    its features and the embedding of the unknown item, as training prepared
    by hiding the id of some items at random. Index 0 is a vector of zeros.
    """

    def __init__(
        self, config: RetrievalConfig, inputs: CandidateInputs, **kwargs: object
    ) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.width = config.embedding_dim
        self.item_id = "item" in config.ids
        self.id_dropout = config.id_dropout
        self.num_known = inputs.num_known
        self.num_rows = len(inputs.counts)
        specs = features.select(inputs.specs, config.item_features)
        self.encoder = FeatureEncoder(specs, self.width, name="features")
        self.table = features.constants(specs, inputs.features)
        self.num_trends = 0
        if inputs.popularity is not None:
            self.num_trends = inputs.popularity.shape[1]
            self.popularity = self.add_weight(
                name="popularity",
                shape=inputs.popularity.shape,
                initializer=tf.keras.initializers.Constant(inputs.popularity),
                trainable=False,
            )
        # Starting at the log of the popularity saves the epochs in which
        # training does little but find it.
        share = np.maximum(inputs.counts[: self.num_known], 0.5)
        start = np.log(share / share.mean())
        start[:FIRST_ITEM] = start.min()
        if self.num_trends:
            start = np.zeros_like(start)
        self.bias = self.add_weight(
            name="bias",
            shape=[self.num_known],
            initializer=tf.keras.initializers.Constant(start),
        )
        if self.item_id:
            self.ids = self.add_weight(
                name="ids",
                shape=[tables.num_rows(self.num_known, config), self.width],
                initializer=Rows(self.width**-0.5),
            )

    @property
    def catalogue(self) -> list[tf.Variable]:
        """What it was given of every item, and did not learn."""
        found = list(self.table.values())
        return [*found, self.popularity] if self.num_trends else found

    def call(self, indices: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps item indices `[...]` to `[..., D]`."""
        columns = features.lookup(self.table, indices)
        return self.embed(indices, columns, training=training)

    def embed(
        self,
        indices: tf.Tensor,
        columns: Mapping[str, tf.Tensor],
        training: bool = False,
    ) -> tf.Tensor:
        """Vectors `[..., D]` of items described by encoded features.

        Args:
            indices: `[...]`; 1 where the item is not in the catalogue.
            columns: Encoded features `[...]` or `[..., values]`.
            training: Whether some ids are hidden.
        """
        dropout = self.id_dropout if training else 0.0
        rows = _known(indices, self.num_known, dropout)
        vector = self.encoder(columns)
        if self.item_id:
            vector += tables.embed(self.ids, rows, self.num_known, self.config)
        parts = [vector, tf.gather(self.bias, rows)[..., tf.newaxis]]
        if self.num_trends:
            parts.append(tf.gather(self.popularity, indices))
        there = tf.cast(indices != PADDING, tf.float32)[..., tf.newaxis]
        return tf.concat(parts, axis=-1) * there

    def reads(self, indices: tf.Tensor) -> Iterator[Read]:
        """The rows of the tables of ids that the vectors of items need."""
        rows = _known(indices, self.num_known)
        yield Read(self.bias, rows)
        if self.item_id:
            for place in tables.places(rows, self.num_known, self.config):
                yield Read(self.ids, place)


class QueryTower(tf.keras.Model):
    """History, user and request to the vector that scores candidates.

    Args:
        candidate_tower: Shared, so that a history item and a candidate are
            one vector.
        num_known_users: First user index without an id embedding.
    """

    def __init__(
        self,
        config: RetrievalConfig,
        candidate_tower: CandidateTower,
        user_specs: tuple[FeatureSpec, ...],
        context_specs: tuple[FeatureSpec, ...],
        num_known_users: int,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.width = config.embedding_dim
        self.user_id = "user" in config.ids
        self.id_dropout = config.id_dropout
        self.num_known_users = num_known_users
        self.candidate_tower = candidate_tower
        self.dropout = draws.Dropout(config.dropout)
        self.encoder = encoders.make(config)
        self.norm = tf.keras.layers.LayerNormalization(epsilon=1e-6)
        self.users = FeatureEncoder(user_specs, self.width, name="users")
        self.context = FeatureEncoder(context_specs, self.width, name="context")
        count = candidate_tower.num_trends
        if count:
            # How much each popularity counts for this query.
            self.trends = tf.keras.layers.Dense(
                count,
                kernel_initializer="zeros",
                bias_initializer=tf.keras.initializers.Constant(1 / count),
                name="trends",
            )
        self.history_id = "history" in config.ids
        if self.history_id:
            # Small, so that training begins with the shared vectors.
            self.past = self.add_weight(
                name="history_ids",
                shape=[
                    tables.num_rows(candidate_tower.num_known, config),
                    self.width,
                ],
                initializer=Rows(0.3 * self.width**-0.5),
            )
        self.start = self.add_weight(
            name="start", shape=[self.width], initializer="zeros"
        )
        if self.user_id:
            self.ids = self.add_weight(
                name="user_ids",
                shape=[tables.num_rows(num_known_users, config), self.width],
                initializer=Rows(self.width**-0.5),
            )

    def call(
        self,
        history: tf.Tensor,
        user_index: tf.Tensor | None = None,
        user_features: Mapping[str, tf.Tensor] | None = None,
        context: Mapping[str, tf.Tensor] | None = None,
        training: bool = False,
        vectors: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Query vectors `[B, D]`; whatever is None counts as unknown.

        Args:
            history: int `[B, L]`, most recent last, 0 pads on the left.
            user_index: int `[B]`.
            vectors: The candidate tower's of the whole catalogue `[N, D]`,
                where they are at hand; computed if None.
        """
        # One more position of padding: even a history of width 0 has one.
        history = tf.pad(history, [[0, 0], [1, 0]])
        if vectors is None:
            embedded = self.candidate_tower(history, training=training)
        else:
            embedded = tables.rows_of(vectors, history)
        states = self.states(embedded, history, training=training)
        return self.combine(
            states[:, -1], user_index, user_features, context, training
        )

    def reads(self, items: tf.Tensor, users: tf.Tensor) -> Iterator[Read]:
        """The rows of the tables of ids that some histories' states need."""
        if self.history_id:
            count = self.candidate_tower.num_known
            rows = _known(items, count)
            for place in tables.places(rows, count, self.config):
                yield Read(self.past, place)
        if self.user_id:
            count = self.num_known_users
            rows = _known(users, count)
            for place in tables.places(rows, count, self.config):
                yield Read(self.ids, place)

    def states(
        self, embedded: tf.Tensor, history: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """States before the first item and after each.

        Args:
            embedded: Candidate vectors of the history `[B, L, D]`.
            history: Its item indices, int `[B, L]`, 0 pads.

        Returns:
            `[B, L + 1, W]`: the state at `t` has read the positions below
            `t`; where all of them are padding it is the learned start.
        """
        mask = history != PADDING
        items = embedded[..., : self.width]
        if self.history_id:
            count = self.candidate_tower.num_known
            known = _known(history, count)
            items += tables.embed(self.past, known, count, self.config)
        # Unit entries, whatever the width, before the first norm.
        items *= self.width**0.5
        items = self.dropout(items, training=training)
        encoded = self.encoder(items, mask, training=training)
        start = self.start * self.width**0.5
        encoded = tf.where(mask[..., tf.newaxis], encoded, start)
        first = tf.broadcast_to(start, [tf.shape(mask)[0], 1, self.width])
        return tf.concat([first, encoded], axis=1)

    def combine(
        self,
        states: tf.Tensor,
        user_index: tf.Tensor | None = None,
        user_features: Mapping[str, tf.Tensor] | None = None,
        context: Mapping[str, tf.Tensor] | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Adds who asks and when to states `[..., W]`: `[..., D]`."""
        total = states
        total += self.users(user_features or {})
        total += self.context(context or {})
        if self.user_id:
            if user_index is None:
                user_index = tf.fill(tf.shape(states)[:-1], UNKNOWN)
            dropout = self.id_dropout if training else 0.0
            rows = _known(user_index, self.num_known_users, dropout)
            total += tables.embed(
                self.ids, rows, self.num_known_users, self.config
            )
        # Keras norms are tied to the rank they first see.
        query = self.norm(tf.reshape(total, [-1, self.width]))
        # The one meets the candidate's bias.
        parts = [query, tf.ones_like(query[:, :1])]
        if self.candidate_tower.num_trends:
            parts.append(self.trends(query))
        query = tf.concat(parts, axis=-1)
        shape = tf.concat([tf.shape(total)[:-1], tf.shape(query)[1:]], axis=0)
        query = tf.reshape(query, shape)
        return tf.ensure_shape(query, total.shape[:-1] + [query.shape[-1]])


def _known(
    indices: tf.Tensor, num_known: int, dropout: float = 0.0
) -> tf.Tensor:
    """Indices with an embedding of their own; others, a share too, unknown."""
    hidden = indices >= num_known
    if dropout:
        hidden |= draws.uniform(tf.shape(indices)) < dropout
    return tf.where(hidden, UNKNOWN, indices)
