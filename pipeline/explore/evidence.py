"""Why an item may stand in a list: what in the history speaks for it.

Shape letters: H items of a history, C candidates, N items with padding and
out of vocabulary, D width of their vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse

from pipeline.ranking import cooccurrence
from pipeline.ranking.cooccurrence import Log

# Of a long history the models read no more, or hardly.
_LATEST = 100


@dataclass(frozen=True)
class Nearest:
    """The item of the history with the most similar vector."""

    row: int
    cosine: float


@dataclass(frozen=True)
class Together:
    """The item of the history that most often goes with an item.

    Attributes:
        both: Users who took both.
        users: Users who took the item.
    """

    row: int
    both: int
    users: int


class Evidence:
    """Compares candidates with a history.

    Args:
        vectors: Candidate embeddings `[N, D]`.
        log: The interactions that may be counted.
    """

    def __init__(self, vectors: np.ndarray, log: Log) -> None:
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        self._units = vectors / np.maximum(norms, 1e-12)
        users = cooccurrence.decayed(log.histories, log.num_items, 1.0, 0)
        users.data[:] = 1.0
        self._users = sparse.csc_matrix(users)
        self._counts = np.asarray(users.sum(axis=0)).ravel()

    def nearest(
        self, history: Sequence[int], candidates: Sequence[int]
    ) -> list[Nearest | None]:
        """The most similar item of the history, one a candidate."""
        rows = np.unique(np.array(history[-_LATEST:], np.int64))
        if not len(rows):
            return [None] * len(candidates)
        cosines = self._units[np.array(candidates, np.int64)] @ (
            self._units[rows].T
        )
        best = cosines.argmax(axis=1)
        return [
            Nearest(int(rows[place]), float(found[place]))
            for place, found in zip(best, cosines, strict=True)
        ]

    def together(
        self, history: Sequence[int], candidates: Sequence[int]
    ) -> list[Together | None]:
        """The item of the history that goes with each candidate, if any does.

        Which one is decided by the cosine between the users of both, as in
        `item_knn`: what everybody took goes with everything.
        """
        rows = np.unique(np.array(history[-_LATEST:], np.int64))
        columns = np.array(candidates, np.int64)
        if not len(rows) or not len(columns):
            return [None] * len(columns)
        both = (self._users[:, columns].T @ self._users[:, rows]).toarray()
        both[columns[:, None] == rows] = 0
        best = (both / np.sqrt(np.maximum(self._counts[rows], 1))).argmax(
            axis=1
        )
        return [
            Together(int(rows[place]), int(found[place]), int(count))
            if found[place]
            else None
            for place, found, count in zip(
                best, both, self._counts[columns], strict=True
            )
        ]
