"""A log that grows by files is prepared as if it were read in full."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.prepare import step
from pipeline.run.data import TabularSource
from pipeline.sources.reading.stamps import Stamps
from tests.support.data_cases import make_config

HEADER = "when,who,what,stars,device,name"


def row(n: int) -> str:
    """Some rows are broken, some cells missing, some ids floats."""
    when = f"2021-0{1 + n // 40}-{1 + n % 27:02}T0{n % 10}:00:00"
    if n % 23 == 7:
        when = "yesterday"
    stars = "many" if n % 31 == 5 else f"{n % 5 + 1}"
    device = ("phone", "NULL", "tv", "")[n % 4]
    item = n * 7 % 11
    return f"{when},u{n % 9},{item}.0,{stars},{device},Item {item}"


ROWS = [row(n) for n in range(160)]


def source(folder: Path) -> TabularSource:
    return TabularSource(
        kind="tabular",
        path=str(folder),
        user_id="who",
        item_id="what",
        timestamp="when",
        rating="stars",
        title="name",
        context_features={"device": "categorical"},
        # A file may have one row alone, and that a bad one.
        max_bad_share=1.0,
    )


def write(folder: Path, rows: list[list[str]], first: int = 0) -> None:
    for number, lines in enumerate(rows, first):
        path = folder / f"2021-{number:02}.csv"
        path.write_text("\n".join([HEADER, *lines, ""]))


def prepared(
    log: Path, out: Path, kept: Path | None = None
) -> tuple[dict[str, bytes], dict]:
    """All files of the tables, and the figures without what is said."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    step.run(make_config(source(log)), out, kept)
    found = {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != "summary.json"
    }
    return found, json.loads((out / "summary.json").read_text())


@settings(
    max_examples=4,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.lists(st.integers(1, 159), min_size=1, max_size=4, unique=True))
def test_the_tables_are_those_of_a_full_reading(cuts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log, kept = folder / "log", folder / "run/.read"
        log.mkdir()
        ends = [0, *sorted(cuts), len(ROWS)]
        parts = [ROWS[a:b] for a, b in zip(ends, ends[1:], strict=False)]
        write(log, parts[:2])
        first, _figures = prepared(log, folder / "out", kept)
        for number, lines in enumerate(parts[2:], 2):
            write(log, [lines], number)
            prepared(log, folder / "out", kept)
        tables, figures = prepared(log, folder / "out", kept)
        expected, full = prepared(log, folder / "full")
        assert tables == expected
        assert b"yesterday" in tables["quarantine.jsonl"]
        (note,) = [line for line in figures["notes"] if "files were" in line]
        assert note.startswith(f"0 of {len(parts)} files were read, ")
        figures["notes"].remove(note)
        assert figures == full


@pytest.fixture
def grown(tmp_path: Path) -> tuple[Path, Path]:
    """A log of three files, read once; where it lies, what was kept."""
    log, kept = tmp_path / "log", tmp_path / "run/.read"
    log.mkdir()
    write(log, [ROWS[:50], ROWS[50:90], ROWS[90:120]])
    prepared(log, tmp_path / "out", kept)
    return log, kept


def test_old_files_are_not_opened_again(
    grown: tuple[Path, Path], tmp_path: Path
) -> None:
    log, kept = grown
    write(log, [ROWS[120:]], 3)
    expected, _ = prepared(log, tmp_path / "full")
    for path in sorted(log.iterdir())[:3]:
        at = path.stat()
        # Whoever reads it now finds something else.
        path.write_bytes(b"x" * at.st_size)
        os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
    tables, figures = prepared(log, tmp_path / "out", kept)
    assert tables == expected
    assert "1 of 4 files were read, " in " ".join(figures["notes"])


def test_a_file_that_comes_meanwhile_is_for_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, kept = tmp_path / "log", tmp_path / "run/.read"
    log.mkdir()
    write(log, [ROWS[:50], ROWS[50:90]])
    save = Stamps.save

    def comes(stamps: Stamps) -> None:
        save(stamps)
        write(log, [ROWS[90:120]], 2)

    monkeypatch.setattr(Stamps, "save", comes)
    prepared(log, tmp_path / "out", kept)
    monkeypatch.undo()
    tables, figures = prepared(log, tmp_path / "out", kept)
    assert tables == prepared(log, tmp_path / "full")[0]
    assert "1 of 3 files were read, " in " ".join(figures["notes"])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda log: write(log, [ROWS[:49]], 1), "2021-01.csv has changed"),
        (
            lambda log: (log / "2021-00.csv").unlink(),
            "2021-00.csv is not there any more",
        ),
        (
            lambda log: (log / "2020-12.csv").write_text(
                (log / "2021-02.csv").read_text()
            ),
            "a new file comes before one that was read",
        ),
    ],
)
def test_what_changed_before_is_read_in_full_and_said(
    grown: tuple[Path, Path], tmp_path: Path, change, why: str
) -> None:
    log, kept = grown
    change(log)
    tables, figures = prepared(log, tmp_path / "out", kept)
    expected, _ = prepared(log, tmp_path / "full")
    assert tables == expected
    (note,) = [line for line in figures["notes"] if "files were" in line]
    assert note.startswith("all ") and note.endswith(why)


def test_digests_are_kept_while_nothing_is_touched(tmp_path: Path) -> None:
    file, kept = tmp_path / "log.csv", tmp_path / "run/stamps.json"
    file.write_text("a")
    first = Stamps(kept)
    before = first.digest(file)
    first.save()
    at = file.stat()
    file.write_text("b")
    os.utime(file, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert Stamps(kept).digest(file) == before
    assert Stamps().digest(file) != before
    os.utime(file)
    assert Stamps(kept).digest(file) != before
