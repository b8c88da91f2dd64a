"""Retrieval: from the whole catalogue, the few hundred worth ranking.

One pass over a batch of histories trains every target in it: the query tower
gives a state a position, each target meets the state that had read only what
came before it, and a softmax sets it against all other items or a sample.

Shape letters: B histories, L positions, P targets, D width of both towers,
N + 2 rows of the catalogue.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypedDict

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from models import losses, replicas
from models.config import FIRST_ITEM, FeatureSpec, RetrievalConfig
from models.layers import draws, features
from models.lazy_adam import Read
from models.mining import Mined
from models.query import Query
from models.towers import CandidateInputs, CandidateTower, QueryTower

# Items drawn uniformly from the catalogue and added to the in-batch negatives
# (mixed negative sampling).
NUM_UNIFORM = 512
NUM_MINED = 512  # Items near the targets, where the loss takes them.
# Rows of the catalogue that are embedded at a time.
_BLOCK = 8192


class Batch(TypedDict):
    """What a training step learns from.

    Attributes:
        history: int32 `[B, L]`, 0 pads on the left.
        user_index: int32 `[B]`.
        user_features: Columns `[B, ...]`.
        row: int32 `[P]`, the history a target belongs to.
        state: int32 `[P]`, how many positions of it were read before.
        target: int32 `[P]`.
        weight: float32 `[P]`.
        context: Columns `[P, ...]` of the targets' requests.
        moment: int32 `[P]`, the table of `trends` that holds at the request.
    """

    history: tf.Tensor
    user_index: tf.Tensor
    user_features: Mapping[str, tf.Tensor]
    row: tf.Tensor
    state: tf.Tensor
    target: tf.Tensor
    weight: tf.Tensor
    context: Mapping[str, tf.Tensor]
    moment: tf.Tensor


class _Sample(NamedTuple):
    """Items of a step `[K]`, and the places among them of what it compares.

    The first negatives, `num_drawn` of them, are targets of the step.
    """

    items: tf.Tensor
    slots: tf.Tensor
    negatives: tf.Tensor
    num_drawn: tf.Tensor


class RetrievalModel(tfrs.Model):
    """Two towers and how they learn.

    Args:
        query_tower: Asking side; shares the candidate tower.
        counts: Training targets by item index `[N + 2]`, for logQ.
        trends: Popularities at moments of the log `[T, N + 2, H]`, which
            stand in training for those the candidate tower carries; None
            where that has none, or to score without training.
    """

    def __init__(
        self,
        config: RetrievalConfig,
        candidate_tower: CandidateTower,
        query_tower: QueryTower,
        counts: np.ndarray,
        trends: np.ndarray | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        self.config = config
        self._trends = None if trends is None else tf.constant(trends)
        self.candidate_tower = candidate_tower
        self.query_tower = query_tower
        self.num_items = len(counts) - FIRST_ITEM
        self.is_full = config.loss == "full"
        # Called in a training step, inside its graph: before it reads rows of
        # the tables of ids (never for the full softmax, which reads all) ...
        self.before_read: Callable[[tf.Variable, tf.Tensor], None] | None = None
        # ... and at its end.
        self.after_step: Callable[[], None] | None = None
        # What a step draws comes from this and its number, see `draws`.
        self.seed: int | None = None
        self.loss_mean = tf.keras.metrics.Mean(name="loss")
        probabilities = counts / max(counts.sum(), 1)
        self._probabilities = tf.constant(probabilities, tf.float32)
        self._mined = Mined(probabilities) if config.loss == "mined" else None

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """What Keras resets at the start of an epoch."""
        return [self.loss_mean]

    @tf.autograph.experimental.do_not_convert
    def train_step(self, inputs: Batch) -> dict[str, tf.Tensor]:
        """One step; reports the epoch's mean loss, not the last batch's."""
        by_step = draws.by_step(self.seed, self.optimizer.iterations)
        with by_step, tf.GradientTape() as tape:
            loss = self.compute_loss(inputs, training=True)
        self.optimizer.minimize(loss, self.trainable_weights, tape)
        # The copies' shares of the loss add up to the mean over all targets.
        self.loss_mean.update_state(loss * replicas.count())
        if self.after_step is not None:
            self.after_step()
        return {"loss": self.loss_mean.result()}

    @tf.function(autograph=False, reduce_retracing=True)
    def query_embeddings(self, query: Query) -> tf.Tensor:
        """The query tower on tensors, compiled: `[B, D]`."""
        return self.query_tower(*query)

    def compute_loss(self, inputs: Batch, training: bool = False) -> tf.Tensor:
        """Mean cross-entropy of the batch's targets, a scalar.

        Where several copies of the model train together, each has a batch,
        the targets of all are everybody's negatives, and the copies' losses
        add up to the mean over all targets. What travels are the targets'
        indices: embedding them again takes gradients to where they belong
        without sending vectors.
        """
        history, targets = inputs["history"], inputs["target"]
        sample = None
        if self.is_full:
            items, places = tf.range(self.num_items + FIRST_ITEM), history
        else:
            sample, places = self._draw(history, targets)
            items = sample.items
            if training and self.before_read is not None:
                for read in self._reads(items, inputs["user_index"]):
                    self.before_read(*read)
        # Each item once a step, also so that a hidden id is hidden everywhere.
        vectors = self.candidate_tower(items, training=training)
        embedded = tf.gather(vectors, places)
        queries = self._queries(inputs, embedded, training)
        if sample is None:
            logits = self._logits(
                queries, vectors[FIRST_ITEM:], items[FIRST_ITEM:], inputs
            )
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(
                targets - FIRST_ITEM, logits
            )
        else:
            loss = self._sampled(queries, vectors, sample, inputs)
        weights = inputs["weight"]
        return tf.math.divide_no_nan(
            tf.reduce_sum(loss * weights),
            replicas.total(tf.reduce_sum(weights)),
        )

    @property
    def tables(self) -> list[tf.Variable]:
        """The tables of ids, whose rows are read a few at a time."""
        found = (read.table for read in self._reads(tf.range(1), tf.range(1)))
        return list({table.ref(): table for table in found}.values())

    def _reads(self, items: tf.Tensor, users: tf.Tensor) -> Iterator[Read]:
        yield from self.candidate_tower.reads(items)
        yield from self.query_tower.reads(items, users)

    def _draw(
        self, history: tf.Tensor, targets: tf.Tensor
    ) -> tuple[_Sample, tf.Tensor]:
        """Negatives of a step, and the history's places among its items."""
        stop = self.num_items + FIRST_ITEM
        uniform = draws.uniform([NUM_UNIFORM], FIRST_ITEM, stop, tf.int32)
        drawn = replicas.gathered(targets)
        negatives = [drawn, uniform]
        if self._mined is not None:
            negatives.append(self._mined.draw(targets, NUM_MINED))
        used = [tf.reshape(history, [-1]), targets, tf.concat(negatives, 0)]
        items, where = tf.unique(tf.concat(used, axis=0))
        sizes = [tf.size(indices) for indices in used]
        places, slots, compared = tf.split(where, sizes)
        sample = _Sample(items, slots, compared, tf.size(drawn))
        return sample, tf.reshape(places, tf.shape(history))

    @property
    def mined(self) -> list[tf.Variable]:
        """What was found for an epoch."""
        return [self._mined.near, self._mined.chance] if self._mined else []

    def mine(self, seed: Sequence[int]) -> None:
        """Finds the hard negatives of an epoch, where it takes any."""
        if self._mined is not None:
            self._mined.refresh(self.candidate_embeddings(), seed)

    def candidate_embeddings(
        self, first: int = 0, stop: int | None = None
    ) -> np.ndarray:
        """Vectors `[N + 2, D]` of the catalogue, or from `first` to `stop`."""
        rows = np.arange(self.num_items + FIRST_ITEM, dtype=np.int32)
        rows = rows[first:stop]
        blocks = [
            self.candidate_tower(rows[start : start + _BLOCK]).numpy()
            for start in range(0, len(rows), _BLOCK)
        ]
        return np.concatenate(blocks)

    def _queries(
        self, inputs: Batch, embedded: tf.Tensor, training: bool
    ) -> tf.Tensor:
        """Query vectors of the targets `[P, D]`."""
        states = self.query_tower.states(
            embedded, inputs["history"], training=training
        )
        row = inputs["row"]
        return self.query_tower.combine(
            tf.gather_nd(states, tf.stack([row, inputs["state"]], axis=1)),
            tf.gather(inputs["user_index"], row),
            features.lookup(inputs["user_features"], row),
            inputs["context"],
            training=training,
        )

    def _logits(
        self,
        queries: tf.Tensor,
        vectors: tf.Tensor,
        items: tf.Tensor,
        inputs: Batch,
    ) -> tf.Tensor:
        """Scores `[P, K]` of K items, as popular as they were then."""
        if self._trends is None:
            return tf.matmul(queries, vectors, transpose_b=True)
        fixed = self.candidate_tower.width + 1
        logits = tf.matmul(
            queries[:, :fixed], vectors[:, :fixed], transpose_b=True
        )
        tables = tf.gather(self._trends, items, axis=1)
        for column in range(self.candidate_tower.num_trends):
            then = tf.gather(tables[..., column], inputs["moment"])
            place = fixed + column
            logits += queries[:, place : place + 1] * then
        return logits

    def _sampled(
        self,
        queries: tf.Tensor,
        vectors: tf.Tensor,
        sample: _Sample,
        inputs: Batch,
    ) -> tf.Tensor:
        """Sampled softmax `[P]` over places in `vectors`."""
        items, slots, negatives, num_drawn = sample
        chance = losses.mixture_probabilities(
            tf.gather(self._probabilities, items),
            num_drawn,
            NUM_UNIFORM,
            self.num_items,
            NUM_MINED if self._mined else 0,
            tf.gather(self._mined.chance, items) if self._mined else 0.0,
        )
        chosen = tf.gather(vectors, slots)
        if self._trends is not None:
            places = tf.stack([inputs["moment"], inputs["target"]], axis=1)
            then = tf.gather_nd(self._trends, places)
            fixed = self.candidate_tower.width + 1
            chosen = tf.concat([chosen[:, :fixed], then], axis=1)
        positive = tf.reduce_sum(queries * chosen, axis=1)
        negative = self._logits(
            queries,
            tf.gather(vectors, negatives),
            tf.gather(items, negatives),
            inputs,
        )
        return losses.sampled_softmax(
            positive,
            negative,
            slots,
            negatives,
            tf.gather(chance, slots),
            tf.gather(chance, negatives),
        )


def build(
    config: RetrievalConfig,
    items: CandidateInputs,
    user_specs: tuple[FeatureSpec, ...],
    context_specs: tuple[FeatureSpec, ...],
    num_known_users: int,
    trends: np.ndarray | None = None,
) -> RetrievalModel:
    """Makes a model with all its weights, ready to train or to load into.

    Args:
        items: The catalogue with its training counts.
        num_known_users: First user index without an id embedding.
        trends: To train; see `RetrievalModel`.
    """
    candidate_tower = CandidateTower(config, items, name="candidate_tower")
    query_tower = QueryTower(
        config,
        candidate_tower,
        user_specs,
        context_specs,
        num_known_users,
        name="query_tower",
    )
    model = RetrievalModel(
        config,
        candidate_tower,
        query_tower,
        items.counts,
        trends,
        name="retrieval",
    )
    # Keras makes some weights at the first call; one request makes them all.
    query_tower(
        tf.zeros([1, 1], tf.int32),
        tf.ones([1], tf.int32),
        _blank(user_specs),
        _blank(context_specs),
    )
    model.built = True
    return model


def _blank(specs: tuple[FeatureSpec, ...]) -> dict[str, tf.Tensor]:
    """One row in which every feature is missing."""
    return {
        spec.name: tf.zeros(
            [1, spec.width]
            if spec.kind in ("multi_categorical", "text")
            else [1],
            tf.float32 if spec.kind == "numeric" else tf.int32,
        )
        for spec in specs
    }
