"""Real answers for people to read: what users liked and what they are offered.

Asks a server over gRPC exactly as an application would; only titles and the
users' histories come from the prepared tables.
"""

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.table import Table
from rich.text import Text

from pipeline.export import bundle, catalogue
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import DataError
from pipeline.terminal import console
from pipeline.terminal.console import Answer
from serving import embedded
from serving.client import Items, Query, RecommenderClient
from serving.errors import ServingError

NUM_SHOWN = 8
_HISTORY_SHOWN = 5
_BRIEF = 5
_OTHER_CATALOGUE = "FAILED_PRECONDITION"


def demo(prepared: Prepared, target: str) -> Answer:
    """Asks a server for three users.

    Args:
        prepared: The prepared tables of the published run.
        target: The server, host:port.
    """
    with RecommenderClient(target, timeout_seconds=30.0) as client:
        shown = [
            _ask(client, prepared, query, label)
            for label, query in _three_users(prepared)
        ]
    return Answer(
        console.text(*(one.brief() for one in shown)),
        [one.data() for one in shown],
    )


@dataclass(frozen=True)
class Live:
    """What is published here, which a server need not be serving.

    Attributes:
        other_run: The run that was published, "" where it is the one asked
            about or nothing is.
        popular: What to offer when a model does not answer.
    """

    other_run: str = ""
    popular: tuple[str, ...] = ()

    @classmethod
    def read(cls, serving: Path, run: str) -> "Live":
        """Reads what is live.

        Args:
            serving: The directory of the pointer.
            run: The run that is asked about.
        """
        facts = bundle.live_manifest(serving)
        if facts is None:
            return cls()
        if facts["run"] != run:
            return cls(other_run=facts["run"])
        return cls(popular=tuple(catalogue.read_popular(serving)))


def recommend(
    prepared: Prepared,
    target: str,
    user_id: str,
    history: Sequence[str],
    live: Live,
    filters: Mapping[str, Sequence[str]] | None = None,
) -> Answer:
    """Asks a running server for one user.

    Args:
        prepared: Titles, and the history of `user_id` where none is given.
        target: The server, host:port.
        user_id: May be unknown or empty.
        history: Item ids, most recent last.
        live: What is published here.
        filters: As `Query.filters`.

    Raises:
        DataError: If an item id of the history is not in the catalogue.
        ServingError: If no server answers, or one with another catalogue.
    """
    _require_known(prepared, history)
    if user_id and not history:
        history = _history_of(prepared, user_id)
    features = user_features(prepared, user_id)
    query = Query(user_id, history, features, filters=filters or {})
    label = f"user {user_id}" if user_id else "anonymous"
    with RecommenderClient(
        target, timeout_seconds=10.0, popular=live.popular
    ) as client:
        try:
            shown = _ask(client, prepared, query, label)
        except ServingError as error:
            if live.other_run:
                raise ServingError(
                    f"{error} The server that follows what is published here "
                    f"serves run {live.other_run!r}."
                ) from error
            if not live.popular or error.code == _OTHER_CATALOGUE:
                raise
            return _degraded(client, prepared, query, label)
    text = console.text(shown.table())
    if live.other_run:
        text += (
            f"Note: what is published here is run {live.other_run!r}; titles "
            "and history are of the config's.\n"
        )
    return Answer(text, shown.data())


def _require_known(prepared: Prepared, history: Sequence[str]) -> None:
    """Refuses ids of items that the catalogue does not have."""
    known = set(prepared.items.ids[2:])
    for item in history:
        if item not in known:
            whole = {comma.join(history) for comma in (",", ", ")} & known
            raise DataError(
                "HISTORY must hold ids of the catalogue. Received: "
                f"{item!r} (from the command line). The catalogue has "
                f"{len(known)} items, such as {prepared.items.ids[2]!r}."
                + "".join(
                    f" Is it {found!r}? Write an id with a comma in double "
                    f"quotes: '\"{found}\"'."
                    for found in whole
                )
            )


@contextlib.contextmanager
def serve(pointer: Path, log: Path, *flags: str) -> Iterator[str]:
    """Runs the embedded server in its own process; yields its address.

    Raises:
        ServingError: If the server does not answer in time.
    """
    with embedded.running(pointer, *flags, log=log) as server:
        server.wait(server.is_open, f"the models of {pointer}")
        yield server.target


def _three_users(prepared: Prepared) -> list[tuple[str, Query]]:
    """One with a long history, one with two items, one anonymous."""
    sequences = prepared.sequences()
    lengths = np.diff(sequences.offsets)
    # Long, but not the extreme that says nothing about other users.
    row = int(np.argsort(lengths, kind="stable")[int(0.9 * len(lengths))])
    user_id = str(sequences.user_ids[row])
    long = Query(
        user_id,
        _history_of(prepared, user_id),
        user_features(prepared, user_id),
    )
    two = Query("", long.history[-2:])
    return [
        (f"user {user_id}, {len(long.history)} interactions", long),
        ("a new user after two items", two),
        ("an anonymous visitor without a history", Query()),
    ]


def _history_of(prepared: Prepared, user_id: str) -> list[str]:
    sequences = prepared.sequences()
    (rows,) = np.nonzero(sequences.user_ids == user_id)
    if len(rows) == 0:
        return []
    start, stop = sequences.offsets[rows[0] : rows[0] + 2]
    indices = sequences.item_indices[start:stop]
    return [str(item) for item in prepared.items.ids[indices] if item]


def user_features(prepared: Prepared, user_id: str) -> dict[str, object]:
    """A known user's features in the form that requests carry them."""
    (rows,) = np.nonzero(prepared.users.ids == user_id)
    if not user_id or len(rows) == 0:
        return {}
    encoded = prepared.users.features
    return {
        f"user_{name}": column.decode(encoded[name][rows]).tolist()[0]
        for name, column in prepared.columns("users").items()
    }


class Offered(NamedTuple):
    """An item of an answer."""

    item_id: str
    title: str
    score: float


@dataclass(frozen=True)
class Shown:
    """What one user liked, and what both stages answer.

    Attributes:
        label: Who asks.
        liked: Titles of the history, latest first.
        retrieval: The best of what was retrieved.
        ranking: The best after ranking.
    """

    label: str
    liked: Sequence[str]
    retrieval: Sequence[Offered]
    ranking: Sequence[Offered]

    def table(self) -> Table:
        """Both answers with their scores."""
        return self._table(
            [
                ("retrieval", self.retrieval),
                ("after ranking", self.ranking),
            ],
            has_scores=True,
        )

    def brief(self) -> Table:
        """The first few of what is recommended in the end, and before it."""
        return self._table(
            [
                ("recommended", self.ranking[:_BRIEF]),
                ("without ranking", self.retrieval[:_BRIEF]),
            ],
            has_scores=False,
        )

    def _table(
        self, answers: list[tuple[str, Sequence[Offered]]], has_scores: bool
    ) -> Table:
        table = Table(title=Text(self.label), title_justify="left")
        table.add_column("latest in the history", ratio=1)
        columns = [list(self.liked[:_HISTORY_SHOWN])]
        for head, offered in answers:
            table.add_column(head, ratio=1)
            columns.append([one.title for one in offered])
            if has_scores:
                table.add_column("score", justify="right")
                columns.append([f"{one.score:.2f}" for one in offered])
        for row in itertools.zip_longest(*columns, fillvalue=""):
            table.add_row(*row)
        return table

    def data(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "label": self.label,
            "history": list(self.liked),
            "retrieval": [one._asdict() for one in self.retrieval],
            "ranking": [one._asdict() for one in self.ranking],
        }


def _ask(
    client: RecommenderClient, prepared: Prepared, query: Query, label: str
) -> Shown:
    """Asks both stages."""
    retrieved = client.retrieve(query)
    ranked = client.rank(query, retrieved.item_ids, version=retrieved.version)
    titles = _titles(prepared)
    offered = titles | {
        item: f"{titles[item]} (again)"
        for item in query.history
        if item in titles
    }
    return Shown(
        label,
        [titles.get(item, item) for item in reversed(query.history)],
        _offered(offered, retrieved),
        _offered(offered, ranked),
    )


def _offered(titles: dict[str, str], answer: Items) -> list[Offered]:
    """The first items of an answer, with titles."""
    shown = list(answer.item_ids[:NUM_SHOWN])
    for item in shown:
        if item not in titles:
            raise ServingError(
                "The server must serve the config's run. Received: item "
                f"{item!r}, which is not in the prepared catalogue of "
                f"{len(titles):,} items. Name the config that was published, "
                "or a target that serves this one.",
                _OTHER_CATALOGUE,
            )
    return [
        Offered(item, titles[item], round(float(score), 4))
        for item, score in zip(shown, answer.scores, strict=False)
    ]


def _titles(prepared: Prepared) -> dict[str, str]:
    return {
        str(item): str(title) or str(item)
        for item, title in zip(
            prepared.items.ids[2:], prepared.items.titles[2:], strict=True
        )
    }


def _degraded(
    client: RecommenderClient, prepared: Prepared, query: Query, label: str
) -> Answer:
    """What an application gets while a model does not answer."""
    answer = client.recommend(query, NUM_SHOWN)
    titles = _titles(prepared)
    title = Text(f"{label} (degraded: {answer.degraded})")
    table = Table(title=title, title_justify="left")
    table.add_column("offered")
    for item in answer.item_ids:
        table.add_row(titles.get(item, item))
    data = {"degraded": answer.degraded, "items": list(answer.item_ids)}
    return Answer(console.text(table), {"label": label, **data})
