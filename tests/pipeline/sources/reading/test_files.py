import io
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline import sources
from pipeline.run.data import TabularSource
from pipeline.sources.reading import files
from pipeline.sources.reading.stamps import Stamps
from pipeline.tables.schema import DataError

LOG = b"user_id,item_id,timestamp\nu1,a,100\nu1,b,200\nu2,a,300\n"


@pytest.fixture
def store() -> Any:
    """An object store in memory, behind memory:// addresses."""
    found = pytest.importorskip("fsspec").filesystem("memory")
    yield found
    found.store.clear()


def num_rows(tmp_path: Path, path: str) -> int:
    (tmp_path / "out").mkdir(exist_ok=True)
    source = TabularSource(kind="tabular", path=path)
    tables = sources.read(source, 0, tmp_path / "out")
    return int(pq.read_metadata(tables.interactions).num_rows)


def test_addresses_are_files_folders_patterns_and_archives(
    store: Any, tmp_path: Path
) -> None:
    store.pipe("/bucket/log/day=1/a.csv", LOG)
    store.pipe("/bucket/log/day=2/b.csv", LOG)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("log/any.csv", LOG)
    store.pipe("/bucket/log.zip", archive.getvalue())
    assert num_rows(tmp_path, "memory://bucket/log") == 6
    assert num_rows(tmp_path, "memory://bucket/log/*/b.csv") == 3
    assert num_rows(tmp_path, "memory://bucket/log/day=1/a.csv") == 3
    assert num_rows(tmp_path, "memory://bucket/log.zip") == 3


def test_an_address_without_data_is_refused(store: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Correct the address"):
        num_rows(tmp_path, "memory://bucket/nothing")
    with pytest.raises(DataError, match="Check its spelling"):
        num_rows(tmp_path, "nosuchstore://bucket/log")


def test_a_change_behind_an_address_is_noticed(store: Any) -> None:
    store.pipe("/bucket/a.csv", LOG)
    before = files.content("memory://bucket", Stamps())
    assert before == files.content("memory://bucket", Stamps())
    store.pipe("/bucket/a.csv", LOG + b"u9,a,5\n")
    assert before != files.content("memory://bucket", Stamps())


@pytest.mark.parametrize("path", ["~/log.csv", "~/*.csv", "~/part*/b.csv"])
def test_a_change_behind_any_local_path_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    # A star reaches into folders too, when reading as when looking.
    for name in ("log.csv", "part/deep/b.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(LOG)
    before = files.content(path, Stamps())
    assert before and before == files.content(path, Stamps())
    rows = num_rows(tmp_path, path)
    for name in ("log.csv", "part/deep/b.csv"):
        (tmp_path / name).write_bytes(LOG + b"u9,a,5\n")
    assert num_rows(tmp_path, path) > rows
    assert before != files.content(path, Stamps())


HIDDEN = (
    ".hidden.csv",
    "_SUCCESS",
    ".ipynb_checkpoints/log-checkpoint.csv",
    "_temporary/0/part-1.csv",
    "__MACOSX/._log.csv",
    "day=1/.DS_Store",
)
DATA = ("log.csv", "day=1/a.csv", "_day=2/b.csv")


def test_hidden_files_are_no_data(store: Any, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "log.zip", "w") as archive:
        for name in DATA + HIDDEN:
            content = LOG if name in DATA else b"\0binary"
            archive.writestr(name, content)
            store.pipe(f"/_bucket/.log/{name}", content)
            # What is asked for may itself lie in a hidden folder.
            path = tmp_path / "_folder/.log" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    for path in (
        f"{tmp_path}/log.zip",
        f"{tmp_path}/_folder/.log",
        f"{tmp_path}/_folder/.log/*",
        "memory://_bucket/.log",
    ):
        assert num_rows(tmp_path, str(path)) == 9


@pytest.mark.parametrize(
    "path",
    ["_log.csv", ".part/a.csv", "_lo*.csv", ".part/*.csv", ".p*/a.csv"],
)
def test_hidden_files_are_read_where_the_path_names_them(
    tmp_path: Path, path: str
) -> None:
    for name in ("_log.csv", ".part/a.csv", ".part/_b/c.csv"):
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).write_bytes(LOG)
    assert num_rows(tmp_path, f"{tmp_path}/x/{path}") == 3
    assert files.content(f"{tmp_path}/x/{path}", Stamps())
