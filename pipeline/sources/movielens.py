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

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from pipeline.run.data import MovielensSource
from pipeline.sources import download
from pipeline.sources.canonical import tables as canonical
from pipeline.sources.canonical.quarantine import FILE as QUARANTINE
from pipeline.sources.canonical.quarantine import Quarantine
from pipeline.sources.canonical.tables import Batch, Tables
from pipeline.sources.reading import files, text
from pipeline.tables.schema import DataError

GENRES_100K = (
    "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|"
    "Drama|Fantasy|Film-Noir|Horror|Musical|Mystery|Romance|Sci-Fi|Thriller|"
    "War|Western"
).split("|")

_RATINGS = ("user_id", "item_id", "rating", "timestamp")
_FILMS = ("item_id", "title", "genres")
_ITEM_FEATURES = {
    "genres": "multi_categorical",
    "year": "numeric",
    "title": "text",
}
_USER_FEATURES = {
    "age": "numeric",
    "gender": "categorical",
    "occupation": "categorical",
}


@dataclass(frozen=True)
class _Layout:
    ratings: str
    items: str
    delimiter: str
    encoding: str
    item_columns: tuple[str, ...] = _FILMS
    users: str = ""
    user_columns: tuple[str, ...] = ()


_LAYOUTS = (
    _Layout(
        "u.data", "u.item", "\t", "latin-1",
        ("item_id", "title", "date", "video", "url", *GENRES_100K),
        "u.user", ("user_id", "age", "gender", "occupation", "zip"),
    ),
    _Layout(
        "ratings.dat", "movies.dat", "::", "latin-1", _FILMS,
        "users.dat", ("user_id", "gender", "age", "occupation", "zip"),
    ),
    _Layout("ratings.dat", "movies.dat", "::", "utf-8"),
    _Layout("ratings.csv", "movies.csv", ",", "utf-8"),
)  # fmt: skip


def locate(source: MovielensSource) -> str:
    """Where the release is; an official archive that is not there is fetched.

    Raises:
        DataError: If it cannot be fetched.
    """
    data = os.environ.get("DATA_DIR", "data")
    path = source.path or f"{data}/ml-100k.zip"
    is_here = "://" in path or Path(path).expanduser().exists()
    if not is_here and Path(path).name in download.ARCHIVES:
        download.fetch(Path(path).expanduser())
    return path


def read(source: MovielensSource, directory: Path) -> Tables:
    """Writes the canonical tables of a MovieLens release, see `locate`.

    Raises:
        DataError: If nothing is there, or it has no MovieLens layout.
    """
    path = locate(source)
    quarantine = Quarantine(directory / QUARANTINE, source.max_bad_share)
    interactions, items, users = (
        directory / f"{name}.parquet"
        for name in ("interactions", "items", "users")
    )
    with files.find(path, "source.path") as found:
        # At any depth: an archive keeps its files in a folder of its own.
        folder = {file.name: file for file in reversed(found)}
        layout = _layout(folder, path)
        rows = partial(_rows, folder, layout, quarantine)
        canonical.write_interactions(
            rows(layout.ratings, _RATINGS),
            interactions,
            {name: name for name in _RATINGS},
            {},
            quarantine,
        )
        canonical.write_entities(
            map(_film, rows(layout.items, layout.item_columns)),
            items,
            {"item_id": "item_id", "title_shown": "title"},
            _ITEM_FEATURES,
            quarantine,
        )
        if layout.users:
            canonical.write_entities(
                rows(layout.users, layout.user_columns),
                users,
                {"user_id": "user_id"},
                _USER_FEATURES,
                quarantine,
            )
    quarantine.check()
    return Tables(
        interactions,
        items,
        users if layout.users else None,
        item_features=_ITEM_FEATURES,
        user_features=_USER_FEATURES if layout.users else {},
        has_rating=True,
        notes=tuple(quarantine.lines()),
    )


def _rows(
    folder: Mapping[str, files.File],
    layout: _Layout,
    quarantine: Quarantine,
    name: str,
    columns: tuple[str, ...],
) -> Iterator[Batch]:
    delimiter = layout.delimiter
    if delimiter == "\t" and name != layout.ratings:
        delimiter = "|"
    file, encoding, headed = folder[name], layout.encoding, delimiter == ","
    return text.read(file, columns, delimiter, encoding, quarantine, headed)


def _layout(folder: Mapping[str, files.File], path: str) -> _Layout:
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


def _film(batch: Batch) -> Batch:
    """Rows of films, with their genres in one cell and the year."""
    titles = [(t or "").strip() for t in batch.columns["title"].to_pylist()]
    if "genres" in batch.columns:
        listed = batch.columns["genres"].to_pylist()
        genres = [None if g == "(no genres listed)" else g for g in listed]
    else:
        known = GENRES_100K[1:]
        flags = [batch.columns[genre].to_pylist() for genre in known]
        genres = [
            "|".join(
                g for g, flag in zip(known, row, strict=True) if flag == "1"
            )
            for row in zip(*flags, strict=True)
        ]
    columns = {
        "item_id": batch.columns["item_id"],
        "title": pa.array(titles, pa.string()),
        "genres": pa.array(genres, pa.string()),
        "year": pa.array(map(_year, titles), pa.float64()),
    }
    return Batch(columns, batch.lines, batch.file)


def _year(title: str) -> float | None:
    # "Seven (a.k.a. Se7en) (1995)": the last one counts; "(1987-1991)" and
    # "(2011 )" occur in the later releases.
    years = re.findall(r"\((\d{4})(?:[-–]\d{0,4})?\s*\)", title)
    return float(years[-1]) if years else None
