"""One log in the forms it comes in: `init-config` finds the same in each."""

import dataclasses
import datetime
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import sources
from pipeline.onboard import draft, peek
from pipeline.run import config

# A user's items in order; every row with its own day and a rating.
LOG = [
    (f"u{n // 6}", f"i{n * n % 31}", 1_600_041_600 + 86_400 * n, 1 + n % 5)
    for n in range(120)
]


def day(timestamp: int, form: str) -> str:
    moment = datetime.datetime.fromtimestamp(timestamp, datetime.UTC)
    return moment.strftime(form)


def lines(
    separator: str, header: str = "", time: Callable[[int], object] = int
) -> bytes:
    rows = [separator.join(map(str, (u, i, r, time(t)))) for u, i, t, r in LOG]
    return "\n".join([*([header] if header else []), *rows, ""]).encode()


def pairs(separator: str, header: str = "") -> bytes:
    rows = [f"{user}{separator}{item}" for user, item, _t, _r in LOG]
    return "\n".join([*([header] if header else []), *rows, ""]).encode()


def numbers() -> bytes:
    """A user's items in one line, all ids numbers."""
    found: dict[str, list[str]] = {}
    for user, item, _time, _rating in LOG[: -6 * 4]:
        found.setdefault(user[1:], []).append(item[1:])
    # Of different lengths.
    rows = [[user, *own[: 3 + int(user) % 4]] for user, own in found.items()]
    return "\n".join([" ".join(row) for row in rows]).encode()


def histories() -> list[dict[str, object]]:
    found: dict[str, dict[str, list[object]]] = {}
    for user, item, time, _rating in LOG:
        own = found.setdefault(user, {"items": [], "timestamps": []})
        own["items"].append(item)
        own["timestamps"].append(time)
    return [{"user_id": user, **lists} for user, lists in found.items()]


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(histories()), out)
    return out.getvalue()


def archive(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.csv", content)
    return out.getvalue()


NAMED = "userId,movieId,rating,timestamp"
# The file; its content; which of time and rating it tells.
FORMS: dict[str, tuple[str, bytes, str]] = {
    "csv": ("log.csv", lines(",", NAMED), "time rating"),
    "capitals": ("LOG.CSV", lines(",", NAMED.upper()), "time rating"),
    "semicolons": (
        "log.csv",
        lines(";", NAMED.replace(",", ";")),
        "time rating",
    ),
    "typed_names": (
        "log.inter",
        lines("\t", "user_id:token\titem_id:token\trating:float\tdate:token"),
        "time rating",
    ),
    "no_names": ("log.csv", lines(","), "time rating"),
    "no_names_tabs": ("u.data", lines("\t"), "time rating"),
    "no_names_double_colons": ("r.dat", lines("::"), "time rating"),
    "no_names_no_suffix": ("log", lines("\t"), "time rating"),
    "pairs": ("log.csv", pairs(",", "who,what"), ""),
    "pairs_no_names": ("log.txt", pairs(" "), ""),
    "month_first": (
        "log.csv",
        lines(",", NAMED, lambda t: day(t, "%m/%d/%Y %H:%M")),
        "time rating",
    ),
    "day_first": (
        "log.csv",
        lines(",", NAMED, lambda t: day(t, "%d.%m.%y %H:%M:%S")),
        "time rating",
    ),
    "utc": (
        "log.csv",
        lines(",", NAMED, lambda t: day(t, "%Y-%m-%d %H:%M:%S UTC")),
        "time rating",
    ),
    "zip_of_one": ("any.zip", archive(any=lines(",", NAMED)), "time rating"),
    "lists": ("log.parquet", parquet(), "time"),
    "json_lists": (
        "log.jsonl",
        "\n".join(map(json.dumps, histories())).encode(),
        "time",
    ),
}


def drafted(path: Path, *more: str) -> config.Config:
    target = path.parent / "drafted.toml"
    target.write_text(draft.init_config(str(path), *more).text, "utf-8")
    return config.load(target)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_log(form: str, tmp_path: Path) -> None:
    name, content, told = FORMS[form]
    (tmp_path / name).write_bytes(content)
    source = drafted(tmp_path / name).source
    (tmp_path / "out").mkdir()
    tables = sources.read(source, 0, tmp_path / "out")
    found = pq.read_table(tables.interactions)
    assert found["user_id"].to_pylist() == [row[0] for row in LOG]
    assert found["item_id"].to_pylist() == [row[1] for row in LOG]
    assert found["timestamp"].to_pylist() == [
        row[2] if "time" in told else place for place, row in enumerate(LOG)
    ]
    assert tables.has_rating == ("rating" in told)
    if tables.has_rating:
        assert found["rating"].to_pylist() == [row[3] for row in LOG]


def test_lines_of_a_user_and_the_items_in_order(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(numbers())
    source = drafted(path).source
    assert source.columns == ("user_id", "item_id...")
    path.write_bytes(numbers() + b"\n9\n777 1\xff 2\n")
    (tmp_path / "out").mkdir()
    source = dataclasses.replace(source, max_bad_share=0.1)
    tables = sources.read(source, 0, tmp_path / "out")
    found = pq.read_table(tables.interactions).to_pydict()
    assert found["user_id"][:8] == ["0"] * 3 + ["1"] * 4 + ["2"]
    events = [*LOG[:3], LOG[6]]
    assert found["item_id"][:4] == [item[1:] for _u, item, _t, _r in events]
    assert found["timestamp"] == list(range(len(found["item_id"])))
    # A user without items is told apart, and no id is made up of a bad byte.
    told = "\n".join(tables.notes)
    assert "it has 1 columns instead of more" in told
    assert "it is not utf-8" in told
    assert "777" not in found["user_id"]


def test_a_folder_and_its_archive_bring_their_tables_along(
    tmp_path: Path,
) -> None:
    content = {
        "interactions": lines(",", "user_id,item_id,stars,day"),
        "items": b"item_id,shade\n"
        + b"".join(b"i%d,s%d\n" % (n, n % 3) for n in range(31)),
    }
    (tmp_path / "log").mkdir()
    for name, data in content.items():
        (tmp_path / "log" / f"{name}.csv").write_bytes(data)
    (tmp_path / "log" / "README.txt").write_text("About this log")
    (tmp_path / "log.zip").write_bytes(archive(**content))
    for path in (tmp_path / "log", tmp_path / "log.zip"):
        source = drafted(path).source
        assert source.item_features == {"shade": "categorical"}
        assert source.rating == "stars"
        out = tmp_path / f"{path.name}-out"
        out.mkdir()
        tables = sources.read(source, 0, out)
        assert tables.items is not None
        assert pq.read_metadata(tables.items).num_rows == 31


def test_latin_1_is_told_from_a_few_stray_bytes(tmp_path: Path) -> None:
    rows = [f"\xfc{n % 9},\xe9{n % 7}" for n in range(60)]
    text = "\n".join(["user,item", *rows, ""])
    latin, mixed = tmp_path / "latin.csv", tmp_path / "mixed.csv"
    latin.write_bytes(text.encode("latin-1"))
    mixed.write_bytes(text.encode("utf-8") + b"\xff,x1\n")
    assert peek.encoding(str(latin), "") == "latin-1"
    assert peek.encoding(str(mixed), "") == "utf-8"


def test_an_unreadable_log_is_refused_with_its_first_line(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("user,item\n1,2\n")
    found = draft.init_config(str(path))
    assert re.search("not a JSON object.*line 1", found.problem)
    # A config to start from all the same, which says what is wrong.
    assert "#   " + found.problem.splitlines()[0] in found.text
    assert f'path = "{path}"' in found.text


def test_a_date_that_reads_two_ways_is_pointed_out(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    rows = [f"u{n % 9},i{n % 7},0{1 + n % 9}/03/2021" for n in range(90)]
    path.write_text("\n".join(["user,item,date", *rows, ""]))
    found = draft.init_config(str(path))
    assert "fits as well; neither puts the rows in better order" in found.text
    assert any("fits as well" in doubt for doubt in found.doubts)
