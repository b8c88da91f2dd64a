"""Everything the page asks: one method a question, one dataclass an answer."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import grpc

from pipeline.explore import columns, commands, projection
from pipeline.explore.catalogue import Item, User
from pipeline.explore.columns import Column
from pipeline.explore.commands import Commands
from pipeline.explore.offline import Offline
from pipeline.explore.place import Place
from pipeline.explore.projection import Map
from pipeline.explore.values import Value
from serving.client import Query
from serving.errors import ServingError

# Items of each list that the page shows.
SHOWN = 10
_SUGGESTED = 8


@dataclass(frozen=True)
class About:
    """What the page says of itself.

    Attributes:
        run: Its name.
        bundle_id: That was evaluated, and of which the tables are.
        published: The bundle that is live here, "" where none is.
        part: That is evaluated.
        repeats: Whether items of a history may be recommended.
        history_length: That the models read.
        target: The server's gRPC address.
        rest: Its REST address.
        is_own: Whether the server was started for the page.
        settings: Of the baselines.
        student: Facts of the on-device model.
        left_out: Who is not asked, with the reason.
        items: How many there are.
        users: How many there are.
        popular: Items to start with.
        some_users: Ids to start with.
        some_values: Frequent values of the items' features.
    """

    run: str
    bundle_id: str
    published: str
    part: str
    repeats: bool
    history_length: int
    target: str
    rest: str
    is_own: bool
    settings: Mapping[str, Mapping[str, float]]
    student: Mapping[str, object]
    left_out: Mapping[str, str]
    items: int
    users: int
    popular: Sequence[Item]
    some_users: Sequence[str]
    some_values: Sequence[Value]


@dataclass(frozen=True)
class Version:
    """One version of one model, and why it is not served."""

    model: str
    version: int
    state: str
    error: str


@dataclass(frozen=True)
class State:
    """What the server serves now; `error` where it does not answer."""

    versions: Sequence[Version] = ()
    error: str = ""


@dataclass(frozen=True)
class Why:
    """What speaks for an item; "" and 0 where nothing does.

    Attributes:
        nearest: The most similar item of the history.
        cosine: Between the vectors of both.
        with_item: The item of the history that goes with it most often.
        both: Users who took both.
        users: Users who took the item.
    """

    nearest: str = ""
    cosine: float = 0.0
    with_item: str = ""
    both: int = 0
    users: int = 0


@dataclass(frozen=True)
class Lists:
    """Everybody's list for one history.

    Attributes:
        columns: In the order of asking.
        items: What is shown, in words.
        why: Of the items that are shown.
        commands: The same question from a shell; None while no server says
            what its models take.
    """

    columns: Sequence[Column]
    items: Mapping[str, Item]
    why: Mapping[str, Why]
    commands: Commands | None


@dataclass(frozen=True)
class Found:
    """Items in the order they were found in, users, values of features."""

    items: Sequence[Item] = ()
    values: Sequence[Value] = ()
    users: Sequence[str] = ()
    scores: Sequence[float] = ()


@dataclass(frozen=True)
class Known:
    """A user and the items of theirs, in words."""

    user: User
    items: Mapping[str, Item]


class Explorer:
    """Answers the page.

    Args:
        offline: The run.
        place: The server.
        url: Of the page.
    """

    def __init__(self, offline: Offline, place: Place, url: str) -> None:
        self._offline = offline
        self._place = place
        self._url = url
        self._catalogue = offline.catalogue

    def about(self) -> About:
        """What does not change while the page is open."""
        offline, place = self._offline, self._place
        popular = [
            str(self._catalogue.ids[row])
            for row in self._catalogue.popular[:_SUGGESTED]
        ]
        student = offline.student
        return About(
            offline.config.name,
            offline.bundle_id,
            offline.published,
            offline.part,
            offline.repeats,
            offline.config.retrieval.history_length,
            place.online.target,
            place.rest,
            place.is_own,
            {one.name: one.settings for one in offline.baselines},
            {
                name: student.config.get(name)
                for name in ("precision", "encoder", "model_bytes", "bundle_id")
            }
            if student
            else {},
            offline.left_out,
            len(self._catalogue),
            self._catalogue.num_users,
            list(self._catalogue.describe(popular).values()),
            self._catalogue.users("")[:_SUGGESTED],
            offline.values.search(""),
        )

    def state(self) -> State:
        """What the server serves now."""
        try:
            found = self._place.online.status()
        except ServingError as error:
            return State(error=str(error))
        return State(
            [Version(v.model, v.version, v.state, v.error) for v in found]
        )

    def search(self, text: str) -> Found:
        """Items by title."""
        found = self._catalogue.describe(self._catalogue.search(text))
        return Found(items=list(found.values()))

    def users(self, text: str) -> Found:
        """Users by id."""
        return Found(users=self._catalogue.users(text))

    def values(self, text: str) -> Found:
        """Values of the items' features that a filter may name."""
        return Found(values=self._offline.values.search(text))

    def user(self, user: str) -> Known:
        """One user.

        Raises:
            DataError: If there is none of that id.
        """
        found = self._catalogue.user(user)
        return Known(
            found, self._catalogue.describe([*found.history, *found.targets])
        )

    def similar(self, item: str) -> Found:
        """The items nearest to one, as the server finds them.

        Raises:
            ServingError: If it does not.
        """
        answer = self._place.online.similar(item)
        found = self._catalogue.describe(answer.item_ids)
        return Found(items=list(found.values()), scores=answer.scores)

    def lists(
        self,
        user: str,
        history: Sequence[str],
        excluded: Sequence[str],
        diversity: float,
        filters: Mapping[str, Collection[str]],
    ) -> Lists:
        """Asks everybody.

        Raises:
            DataError: If a filter names no feature of the items.
            ServingError: If a value is not what it must be.
        """
        query = Query(
            user,
            history,
            self._catalogue.features(user),
            excluded,
            diversity,
            filters,
        )
        passes = self._offline.values.passing(query.filters)
        history, excluded = list(query.history), list(query.excluded_ids)
        found = self._place.online.ask(query)
        if self._offline.student:
            found.append(
                columns.of_student(
                    self._offline.student,
                    self._catalogue,
                    history,
                    excluded,
                    passes,
                )
            )
        hidden = excluded if self._offline.repeats else [*excluded, *history]
        found += [
            columns.of_baseline(one, self._catalogue, history, hidden, passes)
            for one in self._offline.baselines
        ]
        shown = dict.fromkeys(
            item for column in found for item in column.ids[:SHOWN]
        )
        return Lists(
            found,
            self._catalogue.describe([*shown, *history, *excluded]),
            self._why(history, [*shown]),
            None if found[0].error else self._commands(query),
        )

    @functools.cached_property
    def map(self) -> Map:
        """The catalogue in two dimensions."""
        return projection.draw(self._offline.vectors, self._catalogue)

    def _why(self, history: Sequence[str], shown: list[str]) -> dict[str, Why]:
        catalogue, evidence = self._catalogue, self._offline.evidence
        known = [
            catalogue.row(item) for item in history if catalogue.knows(item)
        ]
        rows = [catalogue.row(item) for item in shown]
        return {
            item: Why(
                str(catalogue.ids[near.row]) if near else "",
                near.cosine if near else 0.0,
                str(catalogue.ids[both.row]) if both else "",
                both.both if both else 0,
                both.users if both else 0,
            )
            for item, near, both in zip(
                shown,
                evidence.nearest(known, rows),
                evidence.together(known, rows),
                strict=True,
            )
        }

    def _commands(self, query: Query) -> Commands | None:
        place = self._place
        try:
            taken = commands.fetch(place.online.target)
        except grpc.RpcError:
            return None
        return commands.write(
            query, taken, place.online.target, place.rest, self._url
        )
