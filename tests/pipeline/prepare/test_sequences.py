from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.prepare.sequences import Writer
from pipeline.tables import sequences
from pipeline.tables.schema import DataError


def columns(users: list[int], times: list[int]) -> dict[str, np.ndarray]:
    rows = len(users)
    return {
        "user_row": np.array(users, np.int64),
        "item_index": np.arange(rows, dtype=np.int32) + 2,
        "timestamp": np.array(times, np.int64),
        "part": np.zeros(rows, np.int8),
    }


def writer(path: Path, num_users: int, size: int = 4) -> Writer:
    ids = pa.array([f"u{n}" for n in range(num_users)], pa.string())
    made = Writer(path, ids, True)
    made.row_group_size = size
    return made


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=12),
    block=st.integers(1, 9),
    size=st.integers(1, 12),
)
def test_any_cut_of_the_stream_gives_the_same_sequences(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    block: int,
    size: int,
) -> None:
    directory = tmp_path_factory.mktemp("cut")
    users = np.repeat(np.arange(len(lengths)), lengths)
    whole = columns(users.tolist(), list(range(len(users))))
    target = writer(directory / sequences.FILE, len(lengths), size)
    for first in range(0, len(users), block):
        target.add({n: v[first : first + block] for n, v in whole.items()})
    target.close()
    found = sequences.read(directory)
    assert np.diff(found.offsets).tolist() == lengths
    assert found.user_ids.tolist() == [f"u{n}" for n in range(len(lengths))]
    assert found.timestamps.tolist() == list(range(len(users)))
    assert found.item_indices.tolist() == whole["item_index"].tolist()
    # A group holds `size` interactions, or one user who has more.
    file = pq.ParquetFile(directory / sequences.FILE)
    for group in range(file.num_row_groups):
        table = file.read_row_group(group)
        events = sum(len(v) for v in table["timestamp"].to_pylist())
        assert events <= size or table.num_rows == 1


def test_users_out_of_order_are_refused(tmp_path: Path) -> None:
    target = writer(tmp_path / "x.parquet", 2)
    target.add(columns([1, 0], [1, 2]))
    with pytest.raises(DataError, match="one user after the other"):
        target.close()


def test_a_user_without_a_sequence_is_refused(tmp_path: Path) -> None:
    target = writer(tmp_path / "x.parquet", 3)
    target.add(columns([0, 1], [1, 2]))
    with pytest.raises(DataError, match="2 sequences of 3 users"):
        target.close()


@pytest.mark.parametrize("name", ["timestamp", "part"])
def test_a_falling_sequence_is_refused(tmp_path: Path, name: str) -> None:
    rows = columns([0, 0, 1], [5, 5, 1])
    rows[name] = np.array([2, 1, 0], rows[name].dtype)
    target = writer(tmp_path / "x.parquet", 2)
    target.add(rows)
    with pytest.raises(DataError, match=f"`{name}` must never fall.*'u0'"):
        target.close()
