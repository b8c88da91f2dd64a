import io
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline import sources
from pipeline.run.config import Config
from pipeline.run.data import MovielensSource, PrepareConfig, Source
from pipeline.sources import download
from pipeline.steps import Run
from pipeline.tables.schema import DataError


def read(directory: Path, source: Source) -> Any:
    directory.mkdir(exist_ok=True)
    return sources.read(source, 0, directory)


def rows(tables: Any) -> list[dict[str, Any]]:
    return pq.read_table(tables.interactions).to_pylist()


def zipped(files_of: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in files_of.items():
            archive.writestr(name, data)
    return target.getvalue()


LAYOUTS: dict[str, dict[str, bytes]] = {
    "100k": {
        "u.data": b"1\t2\t5\t100\n2\t1\t3\t200\n",
        "u.item": "1|Amélie (2001)|01-Jan-2001||http://x|".encode("latin-1")
        + b"|".join(b"1" if n in (5, 14) else b"0" for n in range(19))
        + b"\n2|Unknown||||" + b"|".join([b"0"] * 19) + b"\n",
        "u.user": b"1|30|F|writer|02139\n2|40|M|other|T8H1N\n",
    },
    "1m": {
        "ratings.dat": b"1::2::5::100\n2::1::3::200\n",
        "movies.dat": "1::Amélie (2001)::Comedy|Romance\n".encode("latin-1")
        + b"2::Unknown::\n",
        "users.dat": b"1::F::30::writer::02139\n2::M::40::other::48067\n",
    },
    "10m": {
        "ratings.dat": b"1::2::5::100\n2::1::3.0::200\n",
        "movies.dat": "1::Amélie (2001)::Comedy|Romance\n"
        "2::Unknown::(no genres listed)\n".encode(),
        "tags.dat": b"1::2::x::100\n",
    },
    "25m": {
        "ratings.csv": b"userId,movieId,rating,timestamp\n1,2,5.0,100\n"
        b"2,1,3.0,200\n",
        "movies.csv": "movieId,title,genres\n"
        '1,"Amélie (2001) ",Comedy|Romance\n'
        "2,Unknown,(no genres listed)\n".encode(),
        "genome-tags.csv": b"tagId,tag\n1,007\n",
    },
}  # fmt: skip


@pytest.mark.parametrize("release", sorted(LAYOUTS))
@pytest.mark.parametrize("packed", [True, False])
def test_movielens_layouts_agree(
    tmp_path: Path, release: str, packed: bool
) -> None:
    members = {f"ml/{k}": v for k, v in LAYOUTS[release].items()}
    path = tmp_path / "ml.zip"
    path.write_bytes(zipped(members))
    if not packed:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path)
        path = tmp_path / "ml"
    tables = read(
        tmp_path / "out", MovielensSource(kind="movielens", path=str(path))
    )
    assert rows(tables) == [
        {"user_id": "1", "item_id": "2", "timestamp": 100, "rating": 5.0},
        {"user_id": "2", "item_id": "1", "timestamp": 200, "rating": 3.0},
    ]
    first, second = pq.read_table(tables.items).to_pylist()
    assert first["title_shown"] == "Amélie (2001)"
    assert first["genres"] == ["Comedy", "Romance"]
    assert first["year"] == 2001.0
    assert second["genres"] in (None, [])
    assert second["year"] is None
    if release in ("100k", "1m"):
        assert pq.read_table(tables.users).to_pylist()[0] == {
            "user_id": "1",
            "age": 30.0,
            "gender": "F",
            "occupation": "writer",
        }
    else:
        assert tables.users is None


def test_an_archive_without_network_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="on another machine, and put it at"):
        download.fetch(tmp_path / "ml-100k.zip", "http://127.0.0.1:9/")
    assert list(tmp_path.iterdir()) == []


def test_a_fetched_archive_must_have_its_checksum(tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    data = zipped({"u.data": b"x"})
    (served / "ml-100k.zip").write_bytes(data)
    (served / "ml-1m.zip").write_bytes(data)
    import hashlib

    good = hashlib.md5(data).hexdigest()
    (served / "ml-1m.zip.md5").write_text(f"MD5 (ml-1m.zip) = {good}\n")
    with pytest.raises(DataError, match="must have the published checksum"):
        download.fetch(tmp_path / "ml-100k.zip", f"{served.as_uri()}/")
    assert not (tmp_path / "ml-100k.zip").exists()
    download.fetch(tmp_path / "ml-1m.zip", f"{served.as_uri()}/")
    assert (tmp_path / "ml-1m.zip").read_bytes() == data


def test_another_archive_at_the_default_place_is_prepared_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    config = Config(
        name="swapped",
        seed=1,
        artifacts=str(tmp_path / "artifacts"),
        source=MovielensSource(),
        prepare=PrepareConfig(split="leave_last_out"),
    )
    said: list[str] = []
    for rating in (5, 4):
        lines = (
            b"%d::%d::%d::%d\n" % (user, item, rating, 100 + item)
            for user in (1, 2)
            for item in (1, 2, 3, 4)
        )
        members = LAYOUTS["1m"] | {"ratings.dat": b"".join(lines)}
        (tmp_path / "ml-100k.zip").write_bytes(zipped(members))
        for _ in range(2):
            Run(config, progress=said.append).prepare()
    told = [line.split()[1] for line in said if "done" not in line]
    assert told == ["running", "up", "running", "up"]
