"""The graphs that ship: strings in, strings out, nothing else needed.

Each class wraps trained models with the prepared vocabularies and offers the
signatures of `serving.signatures`. Keras objects are called, not attached:
only their variables are saved, so a SavedModel holds no Python class and loads
where this project is not installed.

Shape letters as in `serving.signatures`.
"""

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from models.layers import filters, rerank
from models.layers import index as search
from models.layers.ids import rows_of
from models.query import Query
from models.ranking import RankingModel
from models.retrieval import RetrievalModel
from pipeline.export import encode as lookups
from pipeline.export.filters import FilterInputs
from pipeline.export.tracing import (
    Functions,
    Tensors,
    Untracked,
    function,
    shared,
    strings,
)
from pipeline.tables.prepared import Prepared
from serving import signatures

_EXCLUDED = "excluded_ids"


class Asked(NamedTuple):
    """One encoded batch of queries.

    Attributes:
        query: What the models take.
        seen: int32 [B, S], every item of the request's history.
    """

    query: Query
    seen: tf.Tensor


class QueryInputs(tf.Module):
    """Encodes the query inputs of every signature.

    Args:
        items: Indices of item ids, those of `prepared`.
        history_length: Items of the history the towers read.
        knows_users: Whether a model has user embeddings; without them the
            user table stays out of the export.
    """

    def __init__(
        self,
        prepared: Prepared,
        items: lookups.IdLookup,
        history_length: int,
        knows_users: bool,
    ) -> None:
        super().__init__(name="query_inputs")
        self.history_length = history_length
        self.knows_users = knows_users
        self.items = items
        known = prepared.users.ids[2 : prepared.users.num_known]
        self.users = lookups.IdLookup(list(known) if knows_users else [])
        self.user_features = lookups.make(prepared.columns("users"))
        self.context = lookups.make(prepared.columns("context"))
        self._encode = shared(self._encoded)

    def signature(self) -> dict[str, tf.TensorSpec]:
        """The query inputs by name, features prefixed with their table."""
        specs = strings("user_id", 1) | strings("history", 2)
        for table, features in self._tables():
            for name, lookup in features.items():
                specs[f"{table}_{name}"] = lookup.signature(f"{table}_{name}")
        return specs

    def encode(self, inputs: Mapping[str, tf.Tensor]) -> Asked:
        """Looks every input up."""
        return self._encode({name: inputs[name] for name in self.signature()})

    def _encoded(self, inputs: Mapping[str, tf.Tensor]) -> Asked:
        seen = self.items(inputs["history"])
        encoded = {
            table: {
                name: lookup(inputs[f"{table}_{name}"])
                for name, lookup in features.items()
            }
            for table, features in self._tables()
        }
        query = Query(
            lookups.keep_last(seen, self.history_length),
            # Nobody is a user like any other unknown one, not padding.
            tf.maximum(self.users(inputs["user_id"]), 1),
            encoded["user"],
            encoded["context"],
        )
        return Asked(query, seen)

    def ids(self, indices: tf.Tensor) -> tf.Tensor:
        """Item ids of indices, "" for padding."""
        return tf.gather(self.items.ids, indices)

    def _tables(self) -> list[tuple[str, dict[str, lookups.FeatureLookup]]]:
        return [("user", self.user_features), ("context", self.context)]


class Retrieval(tf.Module):
    """Query tower and index: `retrieval` and `retrieval_exact`.

    Args:
        index: The exact or the ScaNN index over the candidate embeddings.
        allowed: The filters that a request may carry.
    """

    def __init__(
        self,
        inputs: QueryInputs,
        prepared: Prepared,
        model: RetrievalModel,
        index: search.ExactIndex | search.ScannIndex,
        allowed: FilterInputs,
    ) -> None:
        super().__init__(name="retrieval")
        self._repeats = prepared.repeat_consumption
        self.inputs = inputs
        self.index = index
        self.allowed = allowed
        self.filtered = filters.FilteredIndex(index, allowed.features)
        self.item_features = lookups.make(prepared.columns("items"))
        exact = index if index.is_exact else index.exact
        self.embeddings = exact.embeddings
        # What follows in a vector are popularities, not what an item is like.
        self._width = model.candidate_tower.width
        self._model = Untracked(model)
        self._embed = shared(
            lambda query: model.query_tower(*query, vectors=self.embeddings)
        )
        self._search = shared(index)
        self._search_filtered = shared(self.filtered)
        self.saved_variables = list(model.variables)

    def embed(self, asked: Asked) -> tf.Tensor:
        """Returns query embeddings float32 [B, D]."""
        return self._embed(asked.query)

    def search(
        self, asked: Asked, inputs: Tensors, queries: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns `(scores, indices)` [B, K] of what may be answered.

        Args:
            asked: Whose history is hidden.
            inputs: The signature's, with exclusions and filters or without.
            queries: What `embed` made of them.
        """
        hidden = asked.seen[:, :0] if self._repeats else asked.seen
        if _EXCLUDED in inputs:
            excluded = self.inputs.items(inputs[_EXCLUDED])
            hidden = tf.concat([hidden, excluded], axis=1)
        if not self.allowed.signature().keys() & inputs.keys():
            return self._search(queries, hidden)
        allowed = self.allowed.encode(inputs)
        return self._search_filtered(queries, hidden, *allowed)

    def functions(self) -> Functions:
        """Concrete functions by signature name."""
        query = self.inputs.signature()
        item = strings("item_id", 1)
        features = {
            f"item_{name}": lookup.signature(f"item_{name}")
            for name, lookup in self.item_features.items()
        }
        return {
            signatures.SERVING_DEFAULT: function(self._retrieve, query),
            signatures.WITH_EXCLUSIONS: function(
                self._retrieve, query | strings(_EXCLUDED, 2)
            ),
            signatures.WITH_OPTIONS: function(
                self._retrieve,
                query | strings(_EXCLUDED, 2) | self.allowed.signature(),
            ),
            signatures.QUERY_EMBEDDING: function(
                lambda inputs: {
                    "embedding": self.embed(self.inputs.encode(inputs))
                },
                query,
            ),
            signatures.CANDIDATE_EMBEDDING: function(
                self._embed_candidate, item | features
            ),
            signatures.SIMILAR_ITEMS: function(self._similar, item),
        }

    def _retrieve(self, inputs: Tensors) -> Tensors:
        asked = self.inputs.encode(inputs)
        scores, indices = self.search(asked, inputs, self.embed(asked))
        return {"candidate_ids": self.inputs.ids(indices), "scores": scores}

    def _embed_candidate(self, inputs: Tensors) -> Tensors:
        features = {
            name: lookup(inputs[f"item_{name}"])
            for name, lookup in self.item_features.items()
        }
        tower = self._model.value.candidate_tower
        indices = self.inputs.items(inputs["item_id"])
        # An empty id is a description without an item, not padding.
        indices = tf.maximum(indices, 1)
        return {"embedding": tower.embed(indices, features, training=False)}

    def directions(self, items: tf.Tensor) -> tf.Tensor:
        """What items are like, however popular: unit vectors [..., W]."""
        vectors = rows_of(self.embeddings, items)[..., : self._width]
        return tf.math.l2_normalize(vectors, axis=-1)

    def _similar(self, inputs: Tensors) -> Tensors:
        items = self.inputs.items(inputs["item_id"])
        mine = self.directions(items)
        # The index compares by dot product; its list is put in the order of
        # the cosine.
        beyond = [[0, 0], [0, self.embeddings.shape[1] - self._width]]
        _, found = self.index(tf.pad(mine, beyond), items[:, tf.newaxis])
        cosine = tf.einsum("bd,bkd->bk", mine, self.directions(found))
        cosine = tf.where(found == 0, search.MASKED_SCORE, cosine)
        scores, order = tf.math.top_k(cosine, self.index.k)
        found = tf.gather(found, order, batch_dims=1)
        return {"candidate_ids": self.inputs.ids(found), "scores": scores}


class Ranking(tf.Module):
    """The second stage: rescored candidates."""

    def __init__(self, inputs: QueryInputs, model: RankingModel) -> None:
        super().__init__(name="ranking")
        self.inputs = inputs
        self._score = shared(model)
        # The signals read the catalogue's vectors from a table.
        tower = model.signals.query_tower.candidate_tower
        unread = {id(variable) for variable in tower.variables}
        self.saved_variables = [
            found for found in model.variables if id(found) not in unread
        ]

    def score(
        self,
        asked: Asked,
        candidates: tf.Tensor,
        queries: tf.Tensor | None = None,
    ) -> Tensors:
        """Scores int32 candidates [B, C]; padding gets `MASKED_SCORE`.

        Args:
            queries: What the retrieval model's `embed` made of them, if it
                was asked: ranking has the same tower.
        """
        outputs = self._score(asked.query, candidates, queries)
        scores = tf.where(
            candidates == 0, search.MASKED_SCORE, outputs["scores"]
        )
        return {**outputs, "scores": scores}

    def order(
        self, asked: Asked, candidates: tf.Tensor, n: int | tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the best n as `(scores, position in candidates)`."""
        scores = self.score(asked, candidates)["scores"]
        return tf.math.top_k(scores, n)

    def functions(self) -> Functions:
        """Concrete functions by signature name."""
        specs = self.inputs.signature() | strings("candidate_ids", 2)
        return {
            signatures.SERVING_DEFAULT: function(self._rank, specs),
            signatures.SCORE: function(
                lambda inputs: self.score(
                    self.inputs.encode(inputs),
                    self.inputs.items(inputs["candidate_ids"]),
                ),
                specs,
            ),
        }

    def _rank(self, inputs: Tensors) -> Tensors:
        ids = inputs["candidate_ids"]
        scores, positions = self.order(
            self.inputs.encode(inputs), self.inputs.items(ids), tf.shape(ids)[1]
        )
        return {
            "candidate_ids": tf.gather(ids, positions, batch_dims=1),
            "scores": scores,
        }


class Recommender(tf.Module):
    """Both stages in one call, for N items: `recommender`.

    Args:
        others: Models by name that it holds, for servers: what they and the
            stages have in common is saved once.
    """

    def __init__(
        self,
        retrieval: Retrieval,
        ranking: Ranking,
        num_recommendations: int,
        others: Mapping[str, "Retrieval | Ranking"],
    ) -> None:
        super().__init__(name="recommender")
        self.retrieval = retrieval
        self.ranking = ranking
        self.others = dict(others)
        self.num_recommendations = min(num_recommendations, retrieval.index.k)

    @property
    def inputs(self) -> QueryInputs:
        """Encodes the query inputs."""
        return self.retrieval.inputs

    def functions(self) -> Functions:
        """Concrete functions by signature name."""
        specs = self.inputs.signature() | strings(_EXCLUDED, 2)
        diversity = tf.TensorSpec([None], tf.float32, signatures.DIVERSITY)
        optional = tf.TensorSpec([None, None], tf.float32, signatures.DIVERSITY)
        return {
            signatures.SERVING_DEFAULT: function(self._recommend, specs),
            signatures.WITH_DIVERSITY: function(
                self._recommend, specs | {signatures.DIVERSITY: diversity}
            ),
            signatures.WITH_OPTIONS: function(
                self._recommend,
                specs
                | self.retrieval.allowed.signature()
                | {signatures.DIVERSITY: optional},
            ),
        }

    def held(self) -> Functions:
        """Those of the models it holds, under the names they have here."""
        return {
            signatures.part_of(name, signature): function
            for name, model in self.others.items()
            for signature, function in model.functions().items()
        }

    def _recommend(self, tensors: Tensors) -> Tensors:
        inputs = self.inputs
        query = inputs.encode(tensors)
        embedded = self.retrieval.embed(query)
        _, candidates = self.retrieval.search(query, tensors, embedded)
        scores = self.ranking.score(query, candidates, embedded)["scores"]
        diversity = tensors.get(signatures.DIVERSITY)
        if diversity is None:
            scores, places = self._best(scores)
        elif diversity.shape.rank == 1:
            scores, places = self._varied(scores, candidates, diversity)
        else:
            scores, places = tf.cond(
                tf.reduce_any(diversity > 0.0),
                lambda: self._varied(scores, candidates, diversity[:, 0]),
                lambda: self._best(scores),
            )
        items = tf.gather(candidates, places, batch_dims=1)
        return {"item_ids": inputs.ids(items), "scores": scores}

    def _best(self, scores: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The best N of scores [B, K], and their places."""
        best, places = tf.math.top_k(scores, self.num_recommendations)
        return best, places

    def _varied(
        self, scores: tf.Tensor, candidates: tf.Tensor, diversity: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """As `_best`, of items that differ from each other."""
        places = rerank.diversify(
            scores,
            candidates > 0,
            self.retrieval.directions(candidates),
            diversity,
            self.num_recommendations,
        )
        return tf.gather(scores, places, batch_dims=1), places


# What is exported: its functions by the name of their signature.
Module = Retrieval | Ranking | Recommender
