"""Records as TensorFlow frames them, and what is left of damaged files."""

from pathlib import Path

import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.prediction_log import records
from serving.prediction_log.records import Broken, Record

DATA = [b"first", b"", b"\x00" * 300, b"last"]


def written(path: Path, data: list[bytes] = DATA) -> list[int]:
    """Writes records; where each begins."""
    frames = [records.frame(one) for one in data]
    path.write_bytes(b"".join(frames))
    ends = [sum(map(len, frames[:n])) for n in range(len(frames))]
    return ends


def kept(path: Path) -> list[bytes]:
    return [one.data for one in records.read(path) if isinstance(one, Record)]


def broken(path: Path) -> list[Broken]:
    return [one for one in records.read(path) if isinstance(one, Broken)]


def test_tensorflow_reads_what_is_written_and_is_read(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    offsets = written(ours)
    assert list(tf.data.TFRecordDataset(str(ours)).as_numpy_iterator()) == DATA
    with tf.io.TFRecordWriter(str(theirs)) as writer:
        for one in DATA:
            writer.write(one)
    assert theirs.read_bytes() == ours.read_bytes()
    found = list(records.read(theirs))
    assert found == [
        Record(theirs, offset, data)
        for offset, data in zip(offsets, DATA, strict=True)
    ]


def test_damaged_data_cost_one_record(tmp_path: Path) -> None:
    path = tmp_path / "log"
    offsets = written(path)
    text = bytearray(path.read_bytes())
    text[offsets[2] + 50] ^= 1
    path.write_bytes(text)
    assert kept(path) == [DATA[0], DATA[1], DATA[3]]
    (found,) = broken(path)
    assert (found.path, found.offset) == (path, offsets[2])
    assert f"{path}, byte {offsets[2]}: the data" in str(found)


def test_behind_a_damaged_length_nothing_is_guessed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    offsets = written(path)
    text = bytearray(path.read_bytes())
    text[offsets[1]] ^= 1
    path.write_bytes(text)
    assert kept(path) == DATA[:1]
    (found,) = broken(path)
    assert found.offset == offsets[1]
    assert "bytes are passed over" in found.why


@settings(max_examples=60)
@given(st.integers(0, 400))
def test_a_file_cut_anywhere_loses_its_last_record_alone(
    tmp_path_factory, size
) -> None:
    path = tmp_path_factory.mktemp("cut") / "log"
    offsets = written(path)
    whole = path.read_bytes()
    size = min(size, len(whole))
    path.write_bytes(whole[:size])
    ends = [*offsets[1:], len(whole)]
    assert kept(path) == [
        data for data, end in zip(DATA, ends, strict=True) if end <= size
    ]
    is_between = size in (0, *ends)
    assert len(broken(path)) == (0 if is_between else 1)


@given(st.binary(max_size=200))
def test_any_file_is_read_to_its_end(tmp_path_factory, content) -> None:
    path = tmp_path_factory.mktemp("any") / "log"
    path.write_bytes(content)
    assert len(list(records.read(path))) <= 1 + len(content)
