import gzip
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.config import ConfigError
from pipeline import sources
from pipeline.run.data import MovielensSource, Source, TabularSource
from pipeline.sources.reading import files
from pipeline.tables.schema import DataError
from tests.support.data_cases import write_csv

HEAD = "user_id,item_id,timestamp"
GOOD = ("u1,a,100", "u1,b,200", "u2,a,300", "u2,b,400")


def read(directory: Path, source: Source) -> Any:
    directory.mkdir(exist_ok=True)
    return sources.read(source, 0, directory)


def tabular(path: object, **options: Any) -> Source:
    return TabularSource(kind="tabular", path=str(path), **options)


def rows(tables: Any) -> list[dict[str, Any]]:
    return pq.read_table(tables.interactions).to_pylist()


def zipped(files_of: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in files_of.items():
            archive.writestr(name, data)
    return target.getvalue()


LOG = (HEAD + "\n" + "\n".join(GOOD) + "\n").encode()
PARQUET = io.BytesIO()
pq.write_table(pa.table({"user_id": [1], "item_id": [2]}), PARQUET)
RATINGS = b"1\t1\t5\t100\n"

# Every row: what is broken, file name, bytes, options, words of the message.
BROKEN: list[tuple[str, str, bytes | None, dict[str, Any], str]] = [
    ("no file", "a.csv", None, {}, "must be a file or a folder that exists"),
    ("empty file", "a.csv", b"", {}, "is empty"),
    ("only a header", "a.csv", HEAD.encode(), {}, ""),
    ("no user column", "a.csv", b"uid,item_id,timestamp\n1,2,3\n", {},
     r"user_id = 'user_id'.*has \['item_id', 'timestamp', 'uid'\]"),
    ("no item column", "a.csv", b"user_id,x,timestamp\n1,2,3\n", {},
     "item_id = 'item_id'"),
    ("no time column", "a.csv", b"user_id,item_id\n1,2\n", {},
     "timestamp = 'timestamp'.*set it to '' to do without"),
    ("no rating column", "a.csv", LOG, {"rating": "stars"}, "rating = 'stars'"),
    ("column twice", "a.csv", b"user_id,item_id,item_id\n1,2,3\n",
     {"timestamp": ""}, "item_id_1.*item_id_2"),
    ("empty user", "a.csv", LOG + b",a,5\n", {}, "`user_id` is empty.*line 6"),
    ("blank item", "a.csv", LOG + b"u3,  ,5\n", {}, "`item_id` is empty"),
    ("time in words", "a.csv", LOG + b"u3,a,yesterday\n", {},
     "neither a number nor an ISO date.*line 6.*yesterday"),
    ("no time", "a.csv", LOG + b"u3,a,\n", {}, "`timestamp` is empty"),
    ("time nan", "a.csv", LOG + b"u3,a,nan\n", {}, "`timestamp` is empty"),
    ("time infinite", "a.csv", LOG + b"u3,a,1e999\n", {}, "neither a number"),
    ("time negative", "a.csv", LOG + b"u3,a,-5\n", {}, "is negative"),
    ("time in the future", "a.csv", LOG + b"u3,a,99999999999\n", {},
     "is in the future"),
    ("rating in words", "a.csv", b"user_id,item_id,timestamp,r\n1,2,3,good\n",
     {"rating": "r"}, "`rating` is not a number"),
    ("rating of no scale", "a.csv",
     b"user_id,item_id,timestamp,r\n1,2,3,1e39\n",
     {"rating": "r"}, r"`rating` is beyond 1e\+15"),
    ("too many columns", "a.csv", LOG + b"u3,a,5,6\n", {},
     "4 columns instead of 3.*line 6"),
    ("too few columns", "a.csv", LOG + b"u3,a\n", {}, "2 columns instead of 3"),
    ("open quote", "a.csv", LOG + b'"u3,a,5\nu4,a,6\n', {},
     "quote without an end.*line 6"),
    ("latin-1 in utf-8", "a.csv", LOG + b"caf\xe9,a,5\n", {},
     "not utf-8.*line 6"),
    ("utf-16", "a.csv", LOG.decode().encode("utf-16-le"), {}, "NUL bytes"),
    ("cut line", "a.csv", LOG + b"u3,", {}, "2 columns instead of 3"),
    ("wrong delimiter", "a.tsv", LOG, {}, "user_id = 'user_id'"),
    ("json broken", "a.jsonl",
     b'{"user_id": 1, "item_id": 2, "timestamp": 3}\n{"user_id": \n', {},
     "not a JSON object.*line 2"),
    ("json list", "a.jsonl", b"[1, 2]\n", {}, "not a JSON object"),
    ("parquet cut", "a.parquet", PARQUET.getvalue()[:-20], {"timestamp": ""},
     "Parquet file must be complete"),
    ("parquet is text", "a.parquet", LOG, {}, "Parquet file must be complete"),
    ("gzip cut", "a.csv.gz", gzip.compress(LOG * 50)[:-30], {},
     "must be complete"),
    ("gzip is text", "a.csv.gz", LOG, {}, "must be complete"),
    ("zip cut", "a.zip", zipped({"interactions.csv": LOG})[:-30], {},
     "must be a zip file"),
    ("zip without log", "a.zip", zipped({"items.csv": LOG, "users.csv": LOG}),
     {},
     "must hold interactions.csv"),
    ("features without table", "a.csv", LOG,
     {"item_features": {"x": "numeric"}}, "needs a table of items"),
    ("movielens without files", "a.zip", zipped({"x.csv": LOG}),
     {"kind": "movielens"}, "has u.data, ratings.dat or ratings.csv"),
    ("movielens without items", "a.zip", zipped({"ratings.csv": LOG}),
     {"kind": "movielens"}, "movies.csv beside it"),
    ("movielens log cut", "a.zip",
     zipped({"u.data": RATINGS + b"1\t", "u.item": b"", "u.user": b""}),
     {"kind": "movielens"}, ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data", "options", "words"),
    [row[1:] for row in BROKEN],
    ids=[row[0] for row in BROKEN],
)
def test_broken_input_is_explained(
    tmp_path: Path,
    name: str,
    data: bytes | None,
    options: dict[str, Any],
    words: str,
) -> None:
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    kind = MovielensSource if "kind" in options else TabularSource
    source: Source = kind(**options, path=str(path))
    if not words:
        # Nothing to read is not broken here: the prepare step refuses it.
        try:
            assert rows(read(tmp_path / "out", source)) == []
        except DataError as error:
            assert name in str(error) or "u.data" in str(error)
        return
    with pytest.raises(DataError) as raised:
        read(tmp_path / "out", source)
    message = str(raised.value)
    assert re.search(words, message, re.DOTALL), message
    # Rule, what was received, and what to do: three sentences at least.
    assert "Received:" in message
    assert len(re.findall(r"\.(?:\s|$)", message)) >= 2, message


def test_bad_rows_are_set_aside_up_to_a_share(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "log.csv", HEAD, *GOOD, "u3,a", ",b,5", "u3,b,soon", "u9,a,9"
    )
    tables = read(tmp_path / "out", tabular(path, max_bad_share=0.4))
    assert [r["user_id"] for r in rows(tables)] == [
        "u1", "u1", "u2", "u2", "u9",
    ]  # fmt: skip
    kept = [
        json.loads(line)
        for line in (tmp_path / "out" / "quarantine.jsonl")
        .read_text()
        .splitlines()
    ]
    assert [(k["line"], k["reason"]) for k in kept] == [
        (6, "it has 2 columns instead of 3"),
        (7, "`user_id` is empty"),
        (8, "`timestamp` is neither a number nor an ISO date"),
    ]
    assert sum("1 rows set aside because" in n for n in tables.notes) == 3
    with pytest.raises(DataError, match=r"Received: 3 of 8 \(37.50%\)"):
        read(tmp_path / "strict", tabular(path, max_bad_share=0.3))


def test_quoted_values_keep_separators_and_line_breaks(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "log.csv", HEAD, '"u,1","a\nb",1', '"say ""hi""",c,2'
    )
    found = rows(read(tmp_path / "out", tabular(path)))
    assert [(r["user_id"], r["item_id"]) for r in found] == [
        ("u,1", "a\nb"),
        ('say "hi"', "c"),
    ]


def test_a_broken_quote_costs_one_line(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "log.csv", HEAD, '"u1,a,1', "u2,b,2", "u3,c,3")
    found = rows(read(tmp_path / "out", tabular(path, max_bad_share=0.5)))
    assert [r["user_id"] for r in found] == ["u2", "u3"]


TABLE = {
    "user_id": [7, 7, 8],
    "item_id": [1, 2, 1],
    "timestamp": [10, 20, 30],
}


def _as_csv(delimiter: str) -> bytes:
    lines = zip(*TABLE.values(), strict=True)
    text = [delimiter.join(TABLE)]
    text += [delimiter.join(map(str, line)) for line in lines]
    return "\n".join(text).encode()


def _as_json() -> bytes:
    return "\n".join(
        json.dumps(dict(zip(TABLE, line, strict=True)))
        for line in zip(*TABLE.values(), strict=True)
    ).encode()


def _as_parquet() -> bytes:
    target = io.BytesIO()
    pq.write_table(pa.table(TABLE), target)
    return target.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "options"),
    [
        ("x.csv", _as_csv(","), {}),
        ("x.csv", b"\xef\xbb\xbf" + _as_csv(",").replace(b"\n", b"\r\n"), {}),
        ("x.csv", _as_csv(";"), {"delimiter": ";"}),
        ("x.tsv", _as_csv("\t"), {}),
        ("x.txt", _as_csv("|"), {"delimiter": "|"}),
        ("x.csv.gz", gzip.compress(_as_csv(",")), {}),
        ("x.jsonl", _as_json(), {}),
        ("x.parquet", _as_parquet(), {}),
        ("x.zip", zipped({"deep/interactions.csv": _as_csv(",")}), {}),
    ],
    # Compressed files hold the time: as names they would differ each time.
    ids=[
        "comma",
        "byte order mark",
        "semicolon",
        "tab",
        "bar",
        "gzip",
        "json lines",
        "parquet",
        "zip",
    ],
)
def test_every_format_gives_the_same_table(
    tmp_path: Path, name: str, data: bytes, options: dict[str, Any]
) -> None:
    (tmp_path / name).write_bytes(data)
    found = rows(read(tmp_path / "out", tabular(tmp_path / name, **options)))
    assert found == [
        {"user_id": "7", "item_id": "1", "timestamp": 10},
        {"user_id": "7", "item_id": "2", "timestamp": 20},
        {"user_id": "8", "item_id": "1", "timestamp": 30},
    ]


def test_hive_folders_and_globs_are_one_log(tmp_path: Path) -> None:
    for day in ("2020-01-01", "2020-01-02"):
        here = tmp_path / "log" / f"day={day}"
        here.mkdir(parents=True)
        write_csv(here / "part-0.csv", "user_id,item_id", f"u{day[-1]},a")
        (here / "_SUCCESS").touch()
    for path in (tmp_path / "log", tmp_path / "log" / "day=*" / "*.csv"):
        found = rows(read(tmp_path / "out", tabular(path, timestamp="day")))
        assert found == [
            {"user_id": "u1", "item_id": "a", "timestamp": 1577836800},
            {"user_id": "u2", "item_id": "a", "timestamp": 1577923200},
        ]


def test_event_types_become_weights(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "log.csv", HEAD + ",kind", "u,a,1,view", "u,b,2,buy",
        "u,c,3,scroll",
    )  # fmt: skip
    tables = read(
        tmp_path / "out",
        tabular(path, event="kind", event_weights={"view": 1.0, "buy": 5.0}),
    )
    assert [(r["item_id"], r["weight"]) for r in rows(tables)] == [
        ("a", 1.0),
        ("b", 5.0),
    ]
    assert any("'scroll' left out" in note for note in tables.notes)


@settings(max_examples=60)
@given(st.binary(max_size=300))
@example(b"\x01\r\x01\n")
def test_any_bytes_are_read_or_explained(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    directory = tmp_path_factory.mktemp("bytes")
    (directory / "log.csv").write_bytes(b"user_id,item_id\n" + data)
    source = tabular(directory / "log.csv", timestamp="", max_bad_share=1.0)
    try:
        found = rows(read(directory / "out", source))
    except DataError:
        return
    assert all(row["user_id"] and row["item_id"] for row in found)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(max_examples=80)
@given(st.lists(st.tuples(ANYTHING, ANYTHING, ANYTHING), max_size=4))
def test_any_json_is_read_or_explained(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any]
) -> None:
    directory = tmp_path_factory.mktemp("json")
    names = ("user_id", "item_id", "timestamp", "tags", "size")
    (directory / "log.jsonl").write_text(
        "\n".join(
            json.dumps(dict(zip(names, (*row, row[0], row[1]), strict=True)))
            for row in values
        )
    )
    source = tabular(
        directory / "log.jsonl",
        max_bad_share=1.0,
        items_path=str(directory / "log.jsonl"),
        item_features={"tags": "multi_categorical", "size": "numeric"},
    )
    try:
        tables = read(directory / "out", source)
    except DataError:
        return
    assert all(row["user_id"] and row["item_id"] for row in rows(tables))


def test_source_options_are_checked_together() -> None:
    with pytest.raises(ConfigError) as raised:
        TabularSource(
            kind="tabular",
            event="kind",
            context_features={"x": "text"},
            max_bad_share=2.0,
        )
    assert len(raised.value.problems) == 4


def test_blocks_end_at_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(LOG)
    small = files.BLOCK
    try:
        files.BLOCK = 16
        with files.find(str(path), "x") as found:
            blocks = list(files.blocks(found[0]))
    finally:
        files.BLOCK = small
    assert b"".join(blocks) == LOG
    assert all(block.endswith(b"\n") for block in blocks)
    assert len(blocks) > 2


def test_a_good_row_after_a_bad_one_of_its_id_is_no_repetition(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log.csv"
    log.write_bytes(LOG)
    items = tmp_path / "items.csv"
    items.write_text("item_id,price\na,cheap\na,3\nb,5\nb,6\n")
    tables = read(
        tmp_path / "out",
        tabular(
            log,
            items_path=str(items),
            item_features={"price": "numeric"},
            max_bad_share=0.6,
        ),
    )
    found = pq.read_table(tables.items).to_pydict()
    assert found == {"item_id": ["a", "b"], "price": [3.0, 5.0]}
    assert [note.split(";")[0] for note in tables.notes[-2:]] == [
        "1 values set aside because `price` is not a number",
        "1 rows set aside because `item_id` was there before",
    ]
