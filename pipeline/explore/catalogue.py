"""Items and users of a run as people look for them and read about them."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from models.config import FIRST_ITEM, UNKNOWN
from pipeline.tables import past
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import PARTS, DataError
from pipeline.terminal import showcase

_FOUND = 8
_SEPARATORS = re.compile(r"[\W_]+")
_WORDS = ("categorical", "multi_categorical")


@dataclass(frozen=True)
class Item:
    """One item in words.

    Attributes:
        features: Its values by feature, as texts.
        interactions: Before the part that is evaluated.
        place: By interactions, from 1.
    """

    id: str
    title: str
    features: dict[str, str]
    interactions: int
    place: int


@dataclass(frozen=True)
class User:
    """A user, and what of theirs models may know.

    Attributes:
        features: By the models' input names.
        history: Item ids before the part that is evaluated, latest last.
        targets: Item ids of that part.
    """

    id: str
    features: dict[str, object]
    history: list[str]
    targets: list[str]


class Catalogue:
    """Looks items and users up.

    Args:
        prepared: Their tables.
        part: That is evaluated: what comes before it is known.
    """

    def __init__(self, prepared: Prepared, part: str) -> None:
        self._prepared = prepared
        self._part = PARTS.index(part)
        self.ids: np.ndarray = prepared.items.ids
        self._rows = {
            str(item): row
            for row, item in enumerate(self.ids)
            if row >= FIRST_ITEM
        }
        self.interactions = prepared.items.counts[: self._part].sum(axis=0)
        self.interactions[:FIRST_ITEM] = -1
        # Rows of items, the most popular first, and the place of each row.
        self.popular = np.argsort(-self.interactions, kind="stable")
        self.popular = self.popular[: len(self.ids) - FIRST_ITEM]
        self._places = np.zeros(len(self.ids), np.int64)
        self._places[self.popular] = np.arange(1, len(self.popular) + 1)
        self._columns = prepared.columns("items")
        self._texts = [
            (row, f" {plain(self.title(row))} ") for row in self.popular
        ]
        self._users = {
            str(user): row
            for row, user in enumerate(prepared.sequences().user_ids)
        }

    def __len__(self) -> int:
        """Number of items."""
        return len(self._rows)

    @property
    def num_users(self) -> int:
        """Number of users."""
        return len(self._users)

    @property
    def words(self) -> dict[str, Sequence[str]]:
        """Features with few values each, and all of these values."""
        return {
            name: column.vocabulary
            for name, column in self._columns.items()
            if column.spec.kind in _WORDS
        }

    def first_word(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Place of each row's first value in `words`, -1 for none."""
        encoded = self._prepared.items.features[name][rows]
        first = encoded.reshape(len(rows), -1)[:, 0].astype(np.int64)
        return np.maximum(first - FIRST_ITEM, -1)

    def row(self, item: str) -> int:
        """The row of an item id, that of unknown items where it has none."""
        return self._rows.get(item, UNKNOWN)

    def knows(self, item: str) -> bool:
        """Whether an id is in the catalogue."""
        return item in self._rows

    def title(self, row: int) -> str:
        """The title of a row, its id where it has none."""
        return str(self._prepared.items.titles[row] or self.ids[row])

    def describe(self, ids: Iterable[str]) -> dict[str, Item]:
        """Items in words, by id; unknown ones are left out."""
        return {
            item: self._describe(self._rows[item])
            for item in ids
            if item in self._rows
        }

    def _describe(self, row: int) -> Item:
        features = {}
        for name, column in self._columns.items():
            # A text is the title once more, or too long to be shown.
            if column.spec.kind == "text":
                continue
            encoded = self._prepared.items.features[name][row : row + 1]
            if column.spec.kind == "numeric":
                text = f"{column.decode(encoded).tolist()[0]:g}"
            else:
                text = ", ".join(column.words(encoded)[0])
            if text:
                features[name] = text
        return Item(
            str(self.ids[row]),
            self.title(row),
            features,
            int(self.interactions[row]),
            int(self._places[row]),
        )

    def search(self, text: str) -> list[str]:
        """Ids of items whose title has every word's start, popular first.

        Titles that begin with the text come before the others; an id finds
        its own item.
        """
        start = plain(text)
        words = [f" {word}" for word in start.split()]
        first = [text.strip()] if self.knows(text.strip()) else []
        rest: list[str] = []
        for row, title in self._texts if words else ():
            if all(word in title for word in words):
                item = str(self.ids[row])
                (first if title.startswith(f" {start}") else rest).append(item)
        return list(dict.fromkeys(first + rest))[:_FOUND]

    def users(self, text: str) -> list[str]:
        """Ids of users that start with a text, the exact one first."""
        found = (user for user in self._users if user.startswith(text))
        chosen = [text] if text in self._users else []
        for user in found:
            if len(chosen) == _FOUND:
                break
            if user != text:
                chosen.append(user)
        return chosen

    def user(self, user: str) -> User:
        """What is known of a user.

        Raises:
            DataError: If there is no such user.
        """
        if user not in self._users:
            raise DataError(
                f"A user must be one of the run's {self.num_users:,}. "
                f"Received: {user!r}. Search by the start of an id."
            )
        row = self._users[user]
        sequences = self._prepared.sequences()
        before = past.histories(
            sequences,
            np.array([row]),
            sequences.offsets[[row + 1]],
            self._part - 1,
        )
        events = slice(*sequences.offsets[row : row + 2])
        asked = sequences.parts[events] == self._part
        after = sequences.item_indices[events][asked]
        return User(
            user,
            self.features(user),
            self._named(before.items),
            list(dict.fromkeys(self._named(after))),
        )

    def features(self, user: str) -> dict[str, object]:
        """A known user's features in the form that requests carry them."""
        return showcase.user_features(self._prepared, user)

    def _named(self, rows: np.ndarray) -> list[str]:
        return [str(self.ids[row]) for row in rows if row >= FIRST_ITEM]


def plain(text: str) -> str:
    """Words without accents, capitals and punctuation, blanks between."""
    if not text.isascii():
        letters = unicodedata.normalize("NFD", text)
        text = "".join(c for c in letters if not unicodedata.combining(c))
    return _SEPARATORS.sub(" ", text.lower()).strip()
