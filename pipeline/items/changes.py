"""What a catalogue as of now changes, and the prepared tables that have it.

The tables keep the rows that the models were trained with, in their order: an
item's row is where its weights are. New items stand behind them, known by
their features alone. What is gone keeps its row, since histories hold it, and
is left out of the index, the filters and the popular items.

Shape letters: N + 2 rows of the tables, those of new items included.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from models.config import FIRST_ITEM, UNKNOWN
from pipeline.release import kept
from pipeline.tables import prepared as tables
from pipeline.tables.prepared import Prepared, Table, with_rows

_ITEMS = "items.parquet"
# How many ids a line names.
_SHOWN = 5
Cells = Mapping[str, Sequence[Sequence[str]]]


@dataclass(frozen=True)
class Changes:
    """Item ids, in the order of the file or the tables.

    Attributes:
        added: Answered from now on.
        gone: Answered no more.
        changed: With other features, values to filter by, or another title.
        kept: How many of the live version's stay.
    """

    added: Sequence[str]
    gone: Sequence[str]
    changed: Sequence[str]
    kept: int

    def __bool__(self) -> bool:
        return bool(self.added or self.gone or self.changed)

    def __str__(self) -> str:
        changed = f", {len(self.changed):,} changed" if self.changed else ""
        return f"+{len(self.added):,} -{len(self.gone):,}{changed}"

    def lines(self) -> Iterator[str]:
        """What changes, by id."""
        for word, ids in (
            ("new", self.added),
            ("gone", self.gone),
            ("changed", self.changed),
        ):
            if ids:
                shown = ", ".join(ids[:_SHOWN])
                more = ", ..." if len(ids) > _SHOWN else ""
                yield f"{len(ids):,} {word}: {shown}{more}"


@dataclass(frozen=True)
class Catalogue:
    """The items of a release.

    Attributes:
        items: Encoded.
        cells: Every value of the categorical features, `[N]`; none of what is
            gone.
        gone: Indices of what is answered no more, int32.
    """

    items: Table
    cells: Cells
    gone: np.ndarray

    @classmethod
    def of(cls, prepared: Prepared) -> Catalogue:
        """Those of prepared tables."""
        cells = {
            name: column.to_pylist()
            for name, column in prepared.item_values().items()
        }
        return cls(prepared.items, cells, prepared.gone)

    @classmethod
    def updated(cls, trained: Prepared, file: pa.Table) -> Catalogue:
        """What models were trained with, made what a file says.

        Args:
            trained: Their tables.
            file: See `pipeline.items.table`.
        """
        before = trained.items
        listed = file["item_id"].to_pylist()
        places = {str(id_): row for row, id_ in enumerate(before.ids)}
        new = [id_ for id_ in listed if id_ not in places]
        places |= {id_: len(before.ids) + row for row, id_ in enumerate(new)}
        rows = np.array([places[id_] for id_ in listed])
        features = {}
        for name, column in trained.columns("items").items():
            values = with_rows(before.features[name], len(new))
            values[rows] = column.encode(file[name].combine_chunks())
            features[name] = values
        titles = np.append(before.titles, np.full(len(new), "", object))
        if "title_shown" in file.column_names:
            titles[rows] = [t or "" for t in file["title_shown"].to_pylist()]
        counts = np.pad(before.counts, [(0, 0), (0, len(new))])
        items = replace(
            before,
            ids=np.append(before.ids, np.array(new, object)),
            features=features,
            counts=counts,
            titles=titles,
            first_seen=with_rows(before.first_seen, len(new)),
        )
        gone = np.setdiff1d(np.arange(FIRST_ITEM, len(items.ids)), rows)
        cells = {}
        kinds = {spec.name: spec.kind for spec in before.specs}
        for name, found in tables.cells_of(file, kinds).items():
            every: list[Sequence[str]] = [()] * (len(items.ids) - FIRST_ITEM)
            for row, cell in zip(rows, found.to_pylist(), strict=True):
                every[row - FIRST_ITEM] = cell
            cells[name] = every
        return cls(items, cells, gone.astype(np.int32))

    @functools.cached_property
    def rows(self) -> dict[str, int]:
        """Rows of what is answered, by id."""
        gone = set(self.gone.tolist())
        return {
            str(id_): row
            for row, id_ in enumerate(self.items.ids)
            if row >= FIRST_ITEM and row not in gone
        }

    def write(self, trained: Prepared, directory: Path) -> None:
        """Writes prepared tables, all else as in those of the models."""
        kept.copy(trained.directory, directory)
        # Links: what they lead to must not be written to.
        for name in (_ITEMS, tables.VALUES):
            (directory / name).unlink()
        self.items.write(directory / _ITEMS)
        tables.write_values(directory, self.cells)
        np.save(directory / tables.GONE, self.gone)


def between(live: Catalogue, now: Catalogue) -> Changes:
    """What is answered, and how, in one catalogue and not in the other."""
    before, after = live.rows, now.rows
    both = [id_ for id_ in after if id_ in before]
    changed = np.zeros(len(both), bool)
    old, new = (
        np.array([rows[id_] for id_ in both], np.int64)
        for rows in (before, after)
    )
    for name, values in now.items.features.items():
        differs = live.items.features[name][old] != values[new]
        changed |= differs.any(axis=tuple(range(1, differs.ndim)))
    changed |= live.items.titles[old] != now.items.titles[new]
    for name, cells in now.cells.items():
        known = live.cells[name]
        pairs = zip(old - FIRST_ITEM, new - FIRST_ITEM, strict=True)
        changed |= np.array(
            [list(known[a]) != list(cells[b]) for a, b in pairs], bool
        )
    return Changes(
        [id_ for id_ in after if id_ not in before],
        [id_ for id_ in before if id_ not in after],
        [both[row] for row in np.flatnonzero(changed)],
        len(both),
    )


def unknown(now: Catalogue, added: Sequence[str]) -> Iterator[str]:
    """Says how many new items have no value, or none that training knew."""
    places = now.rows
    rows = np.array([places[id_] for id_ in added], np.int64)
    for spec in now.items.specs:
        if spec.kind == "numeric" or not len(rows):
            continue
        values = now.items.features[spec.name][rows].reshape(len(rows), -1)
        missing = int((values == 0).all(axis=1).sum())
        foreign = int((values.max(axis=1) == UNKNOWN).sum())
        for count, what in (
            (missing, "have none"),
            (foreign, "have none that training knew"),
        ):
            if count:
                share = f"{count:,} of {len(rows):,} new items"
                yield f"`{spec.name}`: {share} {what}"
