import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline import sources
from pipeline.run.data import TabularSource
from pipeline.sources.canonical.quarantine import Quarantine
from pipeline.sources.reading import files, text

Rows = dict[int, tuple[str, ...]]


def read(
    folder: Path,
    data: str,
    delimiter: str = ",",
    columns: Sequence[str] | None = ("user", "item"),
) -> tuple[Rows, set[int]]:
    """Rows by their line, and the lines set aside."""
    path = folder / "log.csv"
    path.write_bytes(data.encode())
    aside = folder / "aside.jsonl"
    aside.unlink(missing_ok=True)
    quarantine = Quarantine(aside, 1.0)
    rows: Rows = {}
    with files.find(str(path), "x") as [file]:
        for batch in text.read(file, columns, delimiter, "utf-8", quarantine):
            cells = zip(
                *(column.to_pylist() for column in batch.columns.values()),
                strict=True,
            )
            rows |= zip(batch.lines.tolist(), cells, strict=True)
    if not aside.exists():
        return rows, set()
    kept = [json.loads(line) for line in aside.read_text().splitlines()]
    return rows, {entry["line"] for entry in kept}


LINES = (
    "u1,a",
    'u2,12" vinyl',
    'u3,7" single',
    '"u,4",b',
    'u5,"say ""hi"""',
    'u6,"two\nlines"',
    'u7,"with\n\na gap"',
    'u8,"left open',
    '"left open',
    'closed",c',
    '"u9"s,"d"e',
    "u10,carriage\rreturn",
    "too,many,cells",
    "lonely",
    ",",
    "",
    "\r",
    "  ",
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(LINES), min_size=1), st.booleans())
@example(['u2,12" vinyl', "u1,a", "u1,a", 'u3,7" single', "lonely"], True)
@example(["u1,a", 'u8,"left open'], True)
@example(["u1,a", 'u8,"left open'], False)
def test_every_line_is_kept_or_set_aside(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], ends: bool
) -> None:
    folder = tmp_path_factory.mktemp("lines")
    data = "u0,z\n" + "\n".join(lines) + "\n" * ends
    rows, aside = read(folder, data)
    # A line break in a cell is there because it goes on in the next line.
    kept = [
        line + more
        for line, cells in rows.items()
        for more in range("".join(cells).count("\n") + 1)
    ]
    assert len(kept) == len(set(kept))
    assert not aside & set(kept)
    filled = {n for n, one in enumerate(data.split("\n"), 1) if one.strip()}
    assert filled <= aside | set(kept)
    # However the file comes in blocks.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "BLOCK", 16)
        assert read(folder, data) == (rows, aside)
    # A bad line before them costs the others nothing.
    shifted, more_aside = read(folder, "lonely\n" + data)
    assert {line - 1: cells for line, cells in shifted.items()} == rows
    assert {line - 1 for line in more_aside} == {0, *aside}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bad", ["", "lonely"])
def test_blank_lines_are_no_rows(tmp_path: Path, end: str, bad: str) -> None:
    # At the start, behind the names, between rows, at the end.
    lines = ["", "", "user,item", "", "u1,a", "", "", "u2,b", bad, "", ""]
    rows, aside = read(tmp_path, end.join(lines), columns=None)
    assert rows == {5: ("u1", "a"), 8: ("u2", "b")}
    assert aside == ({9} if bad else set())


def test_a_file_of_one_column_has_no_rows_of_blank_lines(
    tmp_path: Path,
) -> None:
    rows, aside = read(tmp_path, "item\na\n\nb\n\n", columns=None)
    assert rows == {2: ("a",), 4: ("b",)} and not aside


def test_what_excel_says_may_stand_between_blank_lines(tmp_path: Path) -> None:
    data = "\nsep=;\n\nuser;item\nu1;a,b\n"
    rows, aside = read(tmp_path, data, delimiter="", columns=None)
    assert rows == {5: ("u1", "a,b")} and not aside


def test_an_empty_day_does_not_stop_a_log(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    head = "user_id,item_id\n"
    (tmp_path / "log/day1.csv").write_text(head + "u1,a\nu2,a\n")
    (tmp_path / "log/day2.csv").write_text(head + "\n")
    source = TabularSource(path=str(tmp_path / "log"), timestamp="")
    (tmp_path / "out").mkdir()
    tables = sources.read(source, 0, tmp_path / "out")
    assert pq.read_metadata(tables.interactions).num_rows == 2


@pytest.mark.parametrize("delimiter", ["\t", "|", " "])
@pytest.mark.parametrize("bad", ["", "lonely\n"])
def test_cells_that_are_all_quoted_are_read_without_quotes(
    tmp_path: Path, delimiter: str, bad: str
) -> None:
    lines = ['"user","item","n"', '"u1","a, ""b""",1', 'NA,"b\nc",2']
    data = "\r\n".join(lines).replace(",", delimiter) + "\r\n" + bad
    rows, aside = read(tmp_path, data, "", columns=None)
    assert rows == {
        2: ("u1", f'a{delimiter} "b"', "1"),
        3: ("NA", "b\nc", "2"),
    }
    assert aside == ({5} if bad else set())


@pytest.mark.parametrize("delimiter", ["\t", "|", "::"])
@pytest.mark.parametrize("bad", ["", "lonely\n"])
def test_quotes_of_some_titles_are_letters(
    tmp_path: Path, delimiter: str, bad: str
) -> None:
    lines = ["user,item", '1,"Great" (1990)', '2,"All of it"', '"3,x']
    data = "\n".join(lines).replace(",", delimiter) + "\n" + bad
    rows, aside = read(tmp_path, data, "", columns=None)
    assert [*rows.values()] == [
        ("1", '"Great" (1990)'),
        ("2", '"All of it"'),
        ('"3', "x"),
    ]
    assert aside == ({5} if bad else set())


@pytest.mark.parametrize("row", ['u1\t"Heroes"', '"a" and "b"\t"c" or "d"'])
def test_quotes_of_a_small_file_are_letters_as_in_the_others(
    tmp_path: Path, row: str
) -> None:
    rows, aside = read(tmp_path, f"user\titem\n{row}\n", "", columns=None)
    assert rows == {2: tuple(row.split("\t"))} and not aside


def test_a_quote_left_open_in_the_last_line_is_set_aside(
    tmp_path: Path,
) -> None:
    rows, aside = read(tmp_path, 'u1,a\nu2,"b')
    assert rows == {1: ("u1", "a")} and aside == {2}


def test_a_quote_inside_of_a_cell_costs_no_rows(tmp_path: Path) -> None:
    lines = [f"u{n},item {n}" for n in range(60)]
    lines[5], lines[25], lines[40] = 'u5,12" vinyl', 'u25,7" single', "bad"
    rows, aside = read(tmp_path, "\n".join(lines) + "\n")
    assert len(rows) == 59 and aside == {41}
    assert rows[6] == ("u5", '12" vinyl')
    assert rows[26] == ("u25", '7" single')


def test_long_cells_are_read_beside_a_bad_line(tmp_path: Path) -> None:
    long = "x" * 200_000
    rows, aside = read(tmp_path, f'u1,{long}\nu2,"{long}"\nlonely\n')
    assert rows == {1: ("u1", long), 2: ("u2", long)} and aside == {3}


@pytest.mark.parametrize("block", [16, 1000, files.BLOCK])
def test_a_cell_may_span_blocks_but_not_too_many_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(files, "BLOCK", block)
    longest = "\n".join("x" * 51)
    data = f'u1,"{longest}"\nu2,a\nu3,"{longest}\nx"\nu4,b\n'
    rows, aside = read(tmp_path, data)
    assert rows == {1: ("u1", longest), 52: ("u2", "a"), 105: ("u4", "b")}
    assert aside == set(range(53, 105))
