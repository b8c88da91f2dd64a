"""Asks a model server stage by stage, and says what it has.

Enters: the address of a server, queries. Leaves: one list a stage, and one of
every label.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from pipeline.explore.columns import LENGTH, Column
from serving import signatures
from serving.client import (
    Items,
    ModelNotFound,
    Query,
    RecommenderClient,
    ServingError,
    VersionStatus,
)

RANKED = "two_stage"
DIVERSE = "diverse"
# The versions that a server may tell apart by a label.
LABELS = ("stable", "canary")
_TIMEOUT_SECONDS = 5.0
_RECOMMENDED = 10


@dataclass(frozen=True)
class Online:
    """The clients of one server.

    Attributes:
        target: Its gRPC address.
        stages: Asks the two stages and the fused model.
        exact: Asks for exact search.
        labelled: Asks for the versions of a label.
    """

    target: str
    stages: RecommenderClient
    exact: RecommenderClient
    labelled: dict[str, RecommenderClient]

    @classmethod
    @contextlib.contextmanager
    def open(cls, target: str) -> Iterator[Online]:
        """Opens the clients; nothing is asked yet."""
        with contextlib.ExitStack() as opened:
            client = partial(
                RecommenderClient, target, timeout_seconds=_TIMEOUT_SECONDS
            )
            yield cls(
                target,
                opened.enter_context(client()),
                opened.enter_context(
                    client(retrieval_model=signatures.RETRIEVAL_EXACT)
                ),
                {
                    label: opened.enter_context(client(version_label=label))
                    for label in LABELS
                },
            )

    def probe(self, timeout_seconds: float) -> tuple[str, ...]:
        """Ids that retrieval answers to nobody in particular.

        Raises:
            ServingError: If it does not answer.
        """
        found = self.stages.retrieve(Query(), timeout_seconds=timeout_seconds)
        return found.item_ids

    def status(self) -> list[VersionStatus]:
        """Every version of every model of a release."""
        return self.stages.status()

    def similar(self, item: str) -> Items:
        """The items nearest to one."""
        return self.stages.similar_items(item, _RECOMMENDED)

    def ask(self, query: Query) -> list[Column]:
        """One column a stage; once the server is gone, that error for all."""
        plain = replace(query, diversity=0.0)
        try:
            retrieved = self.stages.retrieve(plain)
        except ServingError as error:
            return [
                Column(name, error=str(error))
                for name in (signatures.RETRIEVAL, RANKED)
            ]
        found = [
            _list(signatures.RETRIEVAL, retrieved),
            _column(
                RANKED,
                lambda: self.stages.rank(
                    plain, retrieved.item_ids, version=retrieved.version
                ),
            ),
        ]
        if query.diversity:
            found.append(
                _column(DIVERSE, lambda: _recommended(self.stages, query))
            )
        exact = signatures.RETRIEVAL_EXACT
        found.append(_column(exact, lambda: self.exact.retrieve(plain)))
        for label, client in self.labelled.items():
            # A server that has no such label is no failure.
            with contextlib.suppress(ModelNotFound):
                found.append(_labelled(label, client, query))
        return found


def _labelled(label: str, client: RecommenderClient, query: Query) -> Column:
    """The column of a label.

    Raises:
        ModelNotFound: If no version has it.
    """
    try:
        return _list(label, _recommended(client, query))
    except ModelNotFound:
        raise
    except ServingError as error:
        return Column(label, error=str(error))


def _column(name: str, ask: Callable[[], Items]) -> Column:
    """The list that `ask` gives, or why it gives none."""
    try:
        return _list(name, ask())
    except ServingError as error:
        return Column(name, error=str(error))


def _list(name: str, answer: Items) -> Column:
    return Column(
        name,
        answer.item_ids[:LENGTH],
        answer.scores[:LENGTH],
        answer.latency_ms,
        answer.version,
    )


def _recommended(client: RecommenderClient, query: Query) -> Items:
    """The whole answer of both stages.

    Raises:
        ServingError: If it lacks something.
    """
    answer = client.recommend(query, _RECOMMENDED)
    if answer.degraded:
        said = filter(None, (str(answer.degraded), answer.reason))
        raise ServingError(": ".join(said))
    return Items(
        answer.item_ids, answer.scores, answer.version, answer.latency_ms
    )
