import re
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.run.data import MovielensSource, Source, TabularSource
from tests.support.data_cases import prepared, write_csv


@pytest.mark.slow
def test_movielens_100k_through_every_entry_is_identical(
    tmp_path: Path, movielens_100k: Path
) -> None:
    archive = movielens_100k
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "folder")
    out = prepared(
        tmp_path / "zip", MovielensSource(kind="movielens", path=str(archive))
    )
    assert out.summary["interactions"] == 100_000
    assert (len(out.users.ids), len(out.items.ids)) == (945, 1684)
    # Known of this data: 415 of 943 last pairs share a second.
    assert out.summary["users_last_two_tied"] == 415
    assert out.summary["parts"]["test"]["interactions"] == 943
    whole = tmp_path / "folder" / "ml-100k"
    mapped = _as_tables(whole, tmp_path)
    for name, source in (
        ("folder", MovielensSource(kind="movielens", path=str(whole))),
        ("csv", mapped["csv"]),
        ("parquet", mapped["parquet"]),
    ):
        other = prepared(tmp_path / f"out_{name}", source)
        for file in ("sequences", "items", "users"):
            left, right = (
                pq.read_table(p.directory / f"{file}.parquet")
                for p in (out, other)
            )
            assert left.equals(right), (name, file)
        assert out.vocabularies == other.vocabularies


def _as_tables(folder: Path, tmp_path: Path) -> dict[str, Source]:
    """The release as CSV with other names, and as partitioned Parquet."""
    ratings = [
        line.split("\t")
        for line in (folder / "u.data").read_text().splitlines()
    ]
    genres = [
        line.split("|")[0]
        for line in (folder / "u.genre").read_text().splitlines()
        if "|" in line
    ]
    films = [
        line.split("|")
        for line in (folder / "u.item").read_text("latin-1").splitlines()
    ]
    people = [
        line.split("|") for line in (folder / "u.user").read_text().splitlines()
    ]
    movies = {
        "movie": [f[0] for f in films],
        "title": [f[1].strip() for f in films],
        "genres": [
            [g for g, flag in zip(genres, f[5:], strict=True)
             if flag == "1" and g != "unknown"]
            for f in films
        ],
        "year": [
            (re.findall(r"\((\d{4})\)", f[1]) or [None])[-1] for f in films
        ],
    }  # fmt: skip
    users = {
        name: [p[column] for p in people]
        for column, name in enumerate(("person", "age", "gender", "occupation"))
    }
    log = {
        name: [r[column] for r in ratings]
        for column, name in enumerate(("person", "movie", "stars", "when"))
    }
    csv_folder = tmp_path / "tables"
    csv_folder.mkdir()
    for name, columns in (("movies", movies), ("people", users), ("log", log)):
        rows = zip(*columns.values(), strict=True)
        write_csv(
            csv_folder / f"{name}.csv",
            ",".join(columns),
            *[",".join(_cell(v) for v in row) for row in rows],
        )
    for part in range(4):
        here = tmp_path / "parts" / f"shard={part}"
        here.mkdir(parents=True)
        pq.write_table(
            pa.table(
                {
                    "person": pa.array(
                        [int(v) for v in log["person"][part::4]]
                    ),
                    "movie": pa.array([int(v) for v in log["movie"][part::4]]),
                    "stars": pa.array(
                        [float(v) for v in log["stars"][part::4]]
                    ),
                    # Milliseconds, which the reader has to find out.
                    "when": pa.array(
                        [1000 * int(v) for v in log["when"][part::4]]
                    ),
                }
            ),
            here / "part.parquet",
        )
    pq.write_table(pa.table(movies), tmp_path / "movies.parquet")
    pq.write_table(pa.table(users), tmp_path / "people.parquet")
    common = {
        "kind": "tabular",
        "user_id": "person",
        "item_id": "movie",
        "timestamp": "when",
        "rating": "stars",
        "title": "title",
        "item_features": {
            "genres": "multi_categorical",
            "year": "numeric",
            "title": "text",
        },
        "user_features": {
            "age": "numeric",
            "gender": "categorical",
            "occupation": "categorical",
        },
    }
    return {
        "csv": TabularSource(
            **common,
            path=str(csv_folder / "log.csv"),
            items_path=str(csv_folder / "movies.csv"),
            users_path=str(csv_folder / "people.csv"),
        ),
        "parquet": TabularSource(
            **common,
            path=str(tmp_path / "parts"),
            items_path=str(tmp_path / "movies.parquet"),
            users_path=str(tmp_path / "people.parquet"),
        ),
    }


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = "|".join(value) if isinstance(value, list) else str(value)
    return '"' + text.replace('"', '""') + '"'
