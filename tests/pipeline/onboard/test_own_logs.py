"""Logs as people bring them: what `init-config` and `check` make of each.

Every case is a small log of nine users, in the shape of a kind of file that is
around; it says what has to come out.
"""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline import __main__ as command
from pipeline import sources
from pipeline.onboard import check, draft
from pipeline.run import config
from pipeline.run.data import TabularSource
from tests.support.data_cases import Shape, make_config, purchases
from tests.support.shapes import SHAPES


def drafted(directory: Path, shape: Shape) -> tuple[draft.Draft, config.Config]:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in shape.files.items():
        (directory / name).write_bytes(content)
    names = list(shape.files)
    others = [str(directory / name) for name in names[1:]]
    if shape.folder:
        others = []
    path = directory if shape.folder else directory / names[0]
    found = draft.init_config(str(path), *others)
    target = directory.with_suffix(".toml")
    target.write_text(found.text, "utf-8")
    return found, config.load(target)


@pytest.mark.parametrize("name", SHAPES)
def test_a_log_is_understood(name: str, tmp_path: Path) -> None:
    shape = SHAPES[name]
    found, loaded = drafted(tmp_path / "in", shape)
    assert not found.problem, found.problem
    for key, value in shape.options.items():
        assert getattr(loaded.source, key) == value, key
    for key, value in shape.prepare.items():
        assert getattr(loaded.prepare, key) == value, key
    told = "\n".join(check.check(loaded))
    for words in shape.told:
        assert words in found.text + told, words
    if shape.counts:
        (tmp_path / "out").mkdir()
        tables = sources.read(loaded.source, 0, tmp_path / "out")
        rows = pq.read_table(tables.interactions)
        assert (
            len(rows),
            len(set(rows["user_id"].to_pylist())),
            len(set(rows["item_id"].to_pylist())),
        ) == shape.counts


def test_the_runner_up_stands_beside_the_guess(tmp_path: Path) -> None:
    found, _loaded = drafted(tmp_path, SHAPES["yelp"])
    line = next(
        line for line in found.text.splitlines() if line.startswith("item_id")
    )
    assert "or: review_id (has another value in every row" in line


MATRIX = "\n".join(
    [
        "user,Film 0,Film 1,Film 2,Film 3,Film 4,Film 5,Film 6,Film 7",
        *[
            f"u{n},"
            + ",".join(
                str(1 + (n * m) % 5) if (n + m) % 3 else "" for m in range(8)
            )
            for n in range(30)
        ],
    ]
)
NETFLIX = "\n".join(
    line
    for item in range(1, 9)
    for line in (
        f"{item}:",
        *[
            f"{user},{1 + user % 5},2005-09-{item + user:02d}"
            for user in range(1, 12)
            if (user + item) % 3
        ],
    )
)
JESTER = "\n".join(
    ",".join(
        ["74"]
        + ["99" if (n + m) % 4 else str((n * m) % 19 - 9.5) for m in range(12)]
    )
    for n in range(30)
)
BASKETS = "\n".join(
    ",".join(f"item {(n * 7 + m * m) % 15}" for m in range(1 + (n + 2) % 5))
    for n in range(60)
)
NEWS = "\n".join(
    f"{n}\tU{n % 9}\t11/{1 + n % 20}/2019 9:0{n % 10}:00 AM\tN1 N2\t"
    f"N{n % 7}-1 N{n % 5 + 3}-0"
    for n in range(60)
)


@pytest.mark.parametrize(
    ("name", "content", "kind", "rows"),
    [
        ("ratings.csv", MATRIX, "a matrix", 160),
        ("combined_data_1.txt", NETFLIX, "a list of users below", 58),
        ("jester data.csv", JESTER, "a matrix", 90),
        ("groceries.csv", BASKETS, "a list of baskets", 180),
        ("behaviors.tsv", NEWS, "what was shown together", 60),
    ],
)
def test_a_file_that_is_no_log_is_named_with_the_way_to_turn_it(
    name: str,
    content: str,
    kind: str,
    rows: int,
    tmp_path: Path,
) -> None:
    path = tmp_path / name
    path.write_text(content)
    found = draft.init_config(str(path))
    assert kind in found.problem
    line = found.problem.splitlines()[-1]
    assert line in found.text
    # The command as it is printed, and the config as it is written.
    line = line.replace("python -c", f"{sys.executable} -c", 1)
    subprocess.run(line, shell=True, check=True, cwd=tmp_path)
    target = tmp_path / "drafted.toml"
    target.write_text(found.text)
    loaded = config.load(target)
    (tmp_path / "out").mkdir()
    tables = sources.read(loaded.source, 0, tmp_path / "out")
    assert pq.read_metadata(tables.interactions).num_rows == rows


def test_a_log_that_cannot_be_used_gives_a_config_and_a_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item\n" + "".join(f"{n},{n}\n" for n in range(40)))
    assert command.main(["init-config", "--interactions", str(path)]) == 1
    told = capsys.readouterr()
    assert 'user_id = "user"' in told.out
    assert "# As guessed, the data cannot be used yet:" in told.out
    assert "doubt: user_id = 'user' has another value in every row" in told.err
    assert "data: Somebody must have interactions" in told.err


def test_a_user_called_na_can_be_kept(tmp_path: Path) -> None:
    rows = purchases(lambda n, user, item: (user or "NA", item))
    path = tmp_path / "log.csv"
    path.write_text(
        "user,item\n"
        + "".join(f"{u},{i}\n" for u, i in rows).replace("u0,", "NA,")
    )
    target = tmp_path / "drafted.toml"
    found = draft.init_config(str(path))
    assert any("say 'NA'" in doubt for doubt in found.doubts)
    target.write_text(found.text)
    loaded = config.load(target)
    for missing, users in ((loaded.source.missing, 8), ((), 9)):
        out = tmp_path / str(users)
        out.mkdir()
        source = dataclasses.replace(loaded.source, missing=missing)
        tables = sources.read(source, 0, out)
        kept = pq.read_table(tables.interactions)["user_id"].to_pylist()
        assert len(set(kept)) == users
        assert ("NA" in kept) == (users == 9)


CHECKED: dict[str, tuple[str, dict[str, Any], str]] = {
    "both_ways_fit": (
        "user_id,item_id,timestamp\n"
        + "".join(
            f"u{n % 9},i{n % 7},0{1 + n % 9}/0{1 + n // 9}/2021\n"
            for n in range(81)
        ),
        {"time_format": "%m/%d/%Y"},
        "all timestamps fit %d/%m/%Y as well as %m/%d/%Y: 100% of the rows "
        "would follow the one above in time instead of",
    ),
    "below_zero": (
        "user_id,item_id,timestamp,rating\n"
        + "".join(
            f"u{n % 9},i{n % 7},{1_600_000_000 + n},{-1 if n % 4 else 7}\n"
            for n in range(60)
        ),
        {"rating": "rating"},
        "45 ratings are below 0 and count as interactions",
    ),
    "sorted": (
        "user_id,item_id\n"
        + "".join(f"u{n},{m}\n" for n in range(9) for m in range(n % 4, 30, 4)),
        {"timestamp": ""},
        "each user's rows are sorted by the item",
    ),
}


@pytest.mark.parametrize("name", CHECKED)
def test_check_warns_of_what_a_config_takes_for_granted(
    name: str, tmp_path: Path
) -> None:
    content, options, words = CHECKED[name]
    path = tmp_path / "log.csv"
    path.write_text(content)
    source = TabularSource(path=str(path), **options)
    lines = check.check(make_config(source))
    assert any(
        line.startswith("warning:") and words in line for line in lines
    ), lines


def test_check_tells_exact_repeats_from_returns(tmp_path: Path) -> None:
    rows = [
        f"c{n % 4},milk,{1_600_000_000 + 86_400 * n}" for n in range(12)
    ] + [f"c{n % 4},i{n},{1_600_000_000 + 86_400 * n}" for n in range(12, 24)]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["user_id,item_id,timestamp", *rows, *rows, ""]))
    source = TabularSource(path=str(path))
    for repeated, kept, words in (
        ("keep", 48, "50% of the interactions are exact repeats, of the same"),
        ("distinct", 24, ""),
        ("last", 16, "leaves out 8 interactions that return to an item"),
    ):
        lines = check.check(make_config(source, repeated=repeated))
        assert lines[0].startswith(f"{kept} interactions of 4 users")
        assert words in "\n".join(lines)


def test_the_first_line_counts_those_with_interactions(tmp_path: Path) -> None:
    found, loaded = drafted(tmp_path, SHAPES["h_and_m"])
    lines = check.check(loaded)
    assert "of 9 users with 8 items (density" in lines[0]
    assert any("items table: 12 rows, 4 of them without" in x for x in lines)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_unicode_text_of_excel_is_read(encoding: str, tmp_path: Path) -> None:
    rows = purchases(lambda n, u, i: f"{u}\t{i}é\t{n + 1}\t1.{n:03d},50 €")
    log = "\r\n".join(["user\titem\ttime\tprice", *rows, ""])
    path = tmp_path / "log.txt"
    path.write_bytes(("\ufeff" + log).encode(encoding))
    found = draft.init_config(str(path))
    assert not found.problem
    source = TabularSource(
        kind="tabular",
        path=str(path),
        user_id="user",
        item_id="item",
        timestamp="time",
        context_features={"price": "numeric"},
    )
    read = pq.read_table(sources.read(source, 0, tmp_path).interactions)
    assert read["item_id"][0].as_py() == "i0é"
    assert read["price"].to_pylist() == [1000.5 + n for n in range(45)]
