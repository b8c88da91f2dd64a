"""MovieLens in its official layouts, as the archive or its folder.

| release | files | separators |
|---|---|---|
| 100k | u.data, u.item, u.user | tab, `|`, `|`; latin-1 |
| 1m | ratings.dat, movies.dat, users.dat | `::`; latin-1 |
| 10m | ratings.dat, movies.dat | `::`; utf-8 |
| 20m, 25m, 32m, latest, latest-small | ratings.csv, movies.csv | csv; utf-8 |

Features: `genres`, `year` and `title` of the items; `age`, `gender` and
`occupation` of the users where the release has them.
"""

import dataclasses
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from pipeline.sources import download
from pipeline.sources.canonical import tables as canonical
from pipeline.sources.canonical.quarantine import FILE as QUARANTINE
from pipeline.sources.canonical.quarantine import Quarantine
from pipeline.sources.canonical.tables import Batch, Tables
from pipeline.sources.reading import files, text
from pipeline.tables.schema import DataError, SourceConfig

GENRES_100K = (
    "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|"
    "Drama|Fantasy|Film-Noir|Horror|Musical|Mystery|Romance|Sci-Fi|Thriller|"
    "War|Western"
).split("|")

# Files of a release by their name.
Folder: TypeAlias = dict[str, files.File]


@dataclass(frozen=True)
class _Layout:
    ratings: str
    items: str
    users: str
    delimiter: str
    encoding: str


_LAYOUTS = (
    _Layout("u.data", "u.item", "u.user", "\t", "latin-1"),
    _Layout("ratings.dat", "movies.dat", "users.dat", "::", "latin-1"),
    _Layout("ratings.dat", "movies.dat", "", "::", "utf-8"),
    _Layout("ratings.csv", "movies.csv", "", ",", "utf-8"),
)


def locate(source: SourceConfig) -> str:
    """Where the release is; an official archive that is not there is fetched.

    Raises:
        DataError: If it cannot be fetched.
    """
    path = source.path or os.path.join(
        os.environ.get("DATA_DIR", "data"), f"ml-{source.release}.zip"
    )
    is_here = "://" in path or Path(path).expanduser().exists()
    if not is_here and Path(path).name in download.ARCHIVES:
        download.fetch(Path(path).expanduser())
    return path


def read(source: SourceConfig, directory: Path) -> Tables:
    """Writes the canonical tables of a MovieLens release.

    Args:
        source: `path` names the archive or its folder, see `locate`.
        directory: Existing; receives Parquet files.

    Raises:
        DataError: If nothing is at `path`, or it has no MovieLens layout.
    """
    path = locate(source)
    quarantine = Quarantine(directory / QUARANTINE, source.max_bad_share)
    with files.find(path, "source.path") as found:
        # At any depth: an archive keeps its files in a folder of its own.
        folder = {file.name: file for file in reversed(found)}
        tables = _write(folder, _layout(folder, path), quarantine, directory)
    quarantine.check()
    return dataclasses.replace(tables, notes=tuple(quarantine.lines()))


def _write(
    folder: Folder, layout: _Layout, quarantine: Quarantine, directory: Path
) -> Tables:
    columns = ("user_id", "item_id", "rating", "timestamp")
    interactions = directory / "interactions.parquet"
    canonical.write_interactions(
        _rows(folder, layout, layout.ratings, columns, quarantine),
        interactions,
        {name: name for name in columns},
        {},
        quarantine,
    )
    item_features = {
        "genres": "multi_categorical",
        "year": "numeric",
        "title": "text",
    }
    items = directory / "items.parquet"
    canonical.write_rows(
        _items(folder, layout, quarantine),
        items,
        "item_id",
        "item_id",
        item_features,
        "title",
        "|",
        quarantine,
    )
    users = None
    user_features: dict[str, str] = {}
    if layout.users:
        user_features = {
            "age": "numeric",
            "gender": "categorical",
            "occupation": "categorical",
        }
        names = ("user_id", "age", "gender", "occupation", "zip")
        if layout.delimiter == "::":
            names = ("user_id", "gender", "age", "occupation", "zip")
        users = directory / "users.parquet"
        canonical.write_rows(
            _rows(folder, layout, layout.users, names, quarantine),
            users,
            "user_id",
            "user_id",
            user_features,
            "",
            "|",
            quarantine,
        )
    return Tables(
        interactions=interactions,
        items=items,
        users=users,
        item_features=item_features,
        user_features=user_features,
        has_rating=True,
    )


def _rows(
    folder: Folder,
    layout: _Layout,
    name: str,
    columns: tuple[str, ...],
    quarantine: Quarantine,
) -> Iterator[Batch]:
    delimiter = layout.delimiter
    if delimiter == "\t" and name != layout.ratings:
        delimiter = "|"
    return text.read(
        folder[name],
        columns,
        delimiter,
        layout.encoding,
        quarantine,
        skip_header=delimiter == ",",
    )


def _layout(folder: Folder, path: str) -> _Layout:
    for layout in _LAYOUTS:
        if layout.ratings in folder and (
            not layout.users or layout.users in folder
        ):
            if layout.items not in folder:
                raise DataError(
                    f"A MovieLens release with {layout.ratings} has "
                    f"{layout.items} beside it. Received: {path} without it "
                    "(from source.path). Extract the whole archive."
                )
            return layout
    raise DataError(
        "A MovieLens release has u.data, ratings.dat or ratings.csv. "
        f"Received: {path} with {sorted(folder)[:8]} (from source.path). Set "
        "it to an official archive or its folder, or set source.kind to "
        "'tabular' for files of another layout."
    )


def _items(
    folder: Folder, layout: _Layout, quarantine: Quarantine
) -> Iterator[Batch]:
    names: tuple[str, ...] = ("item_id", "title", "genres")
    if layout.delimiter == "\t":
        names = ("item_id", "title", "date", "video", "url", *GENRES_100K)
    for batch in _rows(folder, layout, layout.items, names, quarantine):
        titles = [
            (title or "").strip()
            for title in batch.columns["title"].to_pylist()
        ]
        if "genres" in batch.columns:
            genres = [
                None if value in (None, "(no genres listed)") else value
                for value in batch.columns["genres"].to_pylist()
            ]
        else:
            flags = np.array(
                [batch.columns[name].to_pylist() for name in GENRES_100K]
            )
            genres = [
                "|".join(
                    genre
                    for genre, flag in zip(GENRES_100K, row, strict=True)
                    if flag == "1" and genre != "unknown"
                )
                for row in flags.T
            ]
        years = [_year(title) for title in titles]
        yield Batch(
            {
                "item_id": batch.columns["item_id"],
                "title": pa.array(titles, pa.string()),
                "genres": pa.array(genres, pa.string()),
                "year": pa.array(years, pa.float64()),
            },
            batch.lines,
            batch.file,
        )


def _year(title: str) -> float | None:
    # "Seven (a.k.a. Se7en) (1995)": the last one counts; "(1987-1991)" and
    # "(2011 )" occur in the later releases.
    years = re.findall(r"\((\d{4})(?:[-–]\d{0,4})?\s*\)", title)
    return float(years[-1]) if years else None
