import hashlib
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models  # noqa: F401  (selects Keras 2)
from models.config import ConfigError, FeatureSpec
from models.student import Student
from models.student_config import StudentConfig
from pipeline.ondevice import bundle as ondevice_bundle
from pipeline.ondevice.bundle import Catalogue
from serving.errors import ServingError
from serving.ondevice import __main__ as command
from serving.ondevice import bundle as ondevice

ENCODERS = ("bow", "cnn", "rnn", "attention")
ROWS, LENGTH = 60, 5


def make(encoder: str = "bow", rows: int = ROWS, **options: int) -> Student:
    options = {"num_recommendations": 10} | options
    config = StudentConfig(encoder=encoder, history_length=LENGTH, **options)
    student = Student(config, rows)
    student(np.zeros([1, LENGTH], np.int32))
    random = np.random.default_rng(3)
    # Untrained weights are near zero: make every part count.
    student.set_weights(
        [
            random.normal(0, 0.3, weight.shape).astype(np.float32)
            for weight in student.get_weights()
        ]
    )
    return student


def expected(student: Student, history: list[int]) -> list[int]:
    """An oracle for the graph's exclusion and order."""
    scores = student(np.asarray([history], np.int32)).numpy()[0]
    scores[[0, 1, *history]] = -np.inf
    return np.argsort(-scores, kind="stable")[:10].tolist()


def names(rows: int = ROWS) -> list[str]:
    return ["", "", *(f"item-{row}" for row in range(2, rows))]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("ondevice") / "1"
    ondevice_bundle.write(make(), Catalogue(names(), names()), directory)
    return directory


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_converted_model_equals_the_student_at_every_filling(
    encoder: str, tmp_path: Path
) -> None:
    student = make(encoder)
    ondevice_bundle.write(
        student, Catalogue(names(), names()), tmp_path / "1", "float32"
    )
    loaded = ondevice.OnDevice(tmp_path / "1")
    random = np.random.default_rng(0)
    for filled in [*range(LENGTH + 1), LENGTH, 2]:
        items = random.integers(2, ROWS, filled).tolist()
        history = [0] * (LENGTH - filled) + items
        first, _ = loaded.run(history)
        again, scores = loaded.run(history)
        # The second answer would differ if state were kept.
        np.testing.assert_array_equal(first, again)
        assert again.tolist() == expected(student, history)
        assert np.all(np.diff(scores) <= 0)
        assert not set(again.tolist()) & {0, 1, *items}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_padding_on_either_side_gives_the_same_scores(encoder: str) -> None:
    student = make(encoder)
    left = student(np.asarray([[0, 0, 7, 8, 9]], np.int32)).numpy()
    right = student(np.asarray([[7, 8, 9, 0, 0]], np.int32)).numpy()
    np.testing.assert_allclose(left, right, atol=1e-5)


def test_order_matters_unless_the_encoder_ignores_it() -> None:
    student = make("rnn")
    one = student(np.asarray([[0, 0, 7, 8, 9]], np.int32)).numpy()
    other = student(np.asarray([[0, 0, 9, 8, 7]], np.int32)).numpy()
    assert np.abs(one - other).max() > 1e-3


def test_features_alone_place_items_with_equal_features_together() -> None:
    genres = np.tile([[1, 0], [2, 3]], (ROWS // 2, 1)).astype(np.int32)
    spec = FeatureSpec("genres", "multi_categorical", 4, 2)
    student = Student(
        StudentConfig(
            history_length=LENGTH, item_id=False, item_features=("genres",)
        ),
        ROWS,
        {"genres": genres},
        (spec,),
    )
    table = student.table().numpy()
    np.testing.assert_allclose(table[2], table[4])
    assert not np.allclose(table[2], table[3])


@pytest.mark.parametrize(
    ("dimensions", "precision", "limit"),
    [(32, "int8", 150_000), (32, "float16", 300_000)],
)
def test_the_size_at_3953_items(
    dimensions: int, precision: ondevice_bundle.Precision, limit: int
) -> None:
    student = make(rows=3953, embedding_dim=dimensions)
    assert len(ondevice_bundle.convert(student, precision)) <= limit


@pytest.mark.parametrize("item_id", [True, False])
def test_the_size_of_the_default_student(item_id: bool) -> None:
    rows, genres = 3953, FeatureSpec("genres", "multi_categorical", 20, 3)
    config = StudentConfig(item_id=item_id, item_features=("genres",))
    values = np.random.default_rng(0).integers(0, 20, (rows, 3))
    student = Student(config, rows, {"genres": values}, (genres,))
    student(np.zeros([1, config.history_length], np.int32))
    limit = 150_000 if item_id else 250_000
    assert len(ondevice_bundle.convert(student, "int8")) <= limit


@pytest.mark.parametrize("rows", [13, 20, 21, 997])
def test_two_stages_find_what_a_full_sort_finds(
    rows: int, tmp_path: Path
) -> None:
    student = make(rows=rows)
    ondevice_bundle.write(
        student, Catalogue(names(rows), names(rows)), tmp_path / "1", "float32"
    )
    loaded = ondevice.OnDevice(tmp_path / "1")
    random = np.random.default_rng(1)
    for _ in range(20):
        history = random.integers(2, rows, LENGTH).tolist()
        ids = loaded.run(history)[0].tolist()
        left = rows - 2 - len(set(history))
        best = expected(student, history)[: min(left, 10)]
        assert ids == best + [0] * (10 - len(best))


def test_int8_keeps_scores_distinct_and_the_best_items(bundle: Path) -> None:
    student, loaded = make(), ondevice.OnDevice(bundle)
    shared = 0
    for start in range(2, 42):
        history = list(range(start, start + LENGTH))
        ids, scores = loaded.run(history)
        assert len(set(scores.tolist())) == len(scores)
        shared += len(set(ids.tolist()) & set(expected(student, history)))
    assert shared / 400 > 0.95


def test_golden_cases_replay(bundle: Path) -> None:
    assert ondevice.OnDevice(bundle).replay() == LENGTH + 3


@pytest.mark.parametrize(
    "history",
    [
        [],
        ["unheard of"],
        ["item-9"] * 4,
        [f"item-{row}" for row in range(2, 30)],
    ],
    ids=["empty", "unknown", "duplicates", "longer than the model reads"],
)
def test_any_history_is_answered_without_what_was_seen(
    bundle: Path, history: list[str]
) -> None:
    items = [item for item, _ in ondevice.OnDevice(bundle).recommend(history)]
    assert items
    assert not set(items) & set(history)
    assert all(item.startswith("item-") for item in items)


def test_indices_out_of_range_count_as_unknown(bundle: Path) -> None:
    loaded = ondevice.OnDevice(bundle)
    unknown, _ = loaded.run([0, 0, 0, 1, 5])
    for index in (-1, ROWS, 2**31 - 1, 2**32 + 7):
        ids, _ = loaded.run([0, 0, 0, index, 5])
        assert ids.tolist() == unknown.tolist()


@pytest.mark.parametrize(
    "name", [ondevice.MODEL, ondevice.VOCABULARY, ondevice.GOLDEN]
)
def test_a_truncated_file_is_named(
    bundle: Path, tmp_path: Path, name: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ServingError, match=f"`{name}` must be of bundle"):
        ondevice.OnDevice(copy)


def test_a_truncated_config_is_named(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    (copy / ondevice.CONFIG).write_text('{"files": {')
    with pytest.raises(ServingError, match="`config.json` must be whole"):
        ondevice.OnDevice(copy)


def test_a_vocabulary_of_another_version_is_refused(
    bundle: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    other = {"ids": names()[::-1], "titles": names()}
    (copy / ondevice.VOCABULARY).write_text(json.dumps(other))
    with pytest.raises(ServingError, match="of another version"):
        ondevice.OnDevice(copy)


def mixed(bundle: Path, copy: Path, name: str, content: bytes) -> Path:
    """A file replaced and its digest made to fit, as careless scripts do."""
    shutil.copytree(bundle, copy)
    (copy / name).write_bytes(content)
    config = json.loads((copy / ondevice.CONFIG).read_text())
    config["files"][name] = hashlib.sha256(content).hexdigest()
    (copy / ondevice.CONFIG).write_text(json.dumps(config))
    return copy


def edited(bundle: Path, name: str, **changes: Any) -> bytes:
    return json.dumps(
        json.loads((bundle / name).read_text()) | changes
    ).encode()


def test_a_model_of_another_version_fails_the_golden_replay(
    bundle: Path, tmp_path: Path
) -> None:
    student = make()
    student.set_weights([0.5 - weight for weight in student.get_weights()])
    content = ondevice_bundle.convert(student)
    copy = mixed(bundle, tmp_path / "copy", ondevice.MODEL, content)
    with pytest.raises(ServingError, match="Golden case . must give"):
        ondevice.OnDevice(copy).replay()


def test_a_vocabulary_of_another_order_fails_the_golden_replay(
    bundle: Path, tmp_path: Path
) -> None:
    ids = ["", "", *names()[:1:-1]]
    content = edited(bundle, ondevice.VOCABULARY, ids=ids)
    copy = mixed(bundle, tmp_path / "copy", ondevice.VOCABULARY, content)
    with pytest.raises(
        ServingError, match="must be the one that `golden.json`"
    ):
        ondevice.OnDevice(copy).replay()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (ondevice.VOCABULARY, b"no json", "`vocabulary.json` must be whole"),
        (ondevice.VOCABULARY, b"[]", "must be a JSON object. Received: a list"),
        (
            ondevice.VOCABULARY,
            b'{"ids": ["", ""], "titles": []}',
            "must have 60 rows. Received: 2 ids and 0 titles",
        ),
        (ondevice.MODEL, b"\x1c\0\0\0TFL3" + bytes(64), "be a TFLite model"),
        (ondevice.GOLDEN, b"\xff", "`golden.json` must be whole"),
    ],
)
def test_what_a_bundle_cannot_hold_is_explained(
    bundle: Path, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    copy = mixed(bundle, tmp_path / "copy", name, content)
    with pytest.raises(ServingError, match=message):
        ondevice.OnDevice(copy).replay()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": {}}, "without files.model.tflite, files.vocabulary.json"),
        ({"history_length": 7}, "must read `history` of 7 items"),
        ({"num_items": 3}, "must have 5 rows. Received: 60 ids"),
    ],
)
def test_a_config_of_another_bundle_is_refused(
    bundle: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    content = edited(bundle, ondevice.CONFIG, **changes)
    (copy / ondevice.CONFIG).write_bytes(content)
    with pytest.raises(ServingError, match=message):
        ondevice.OnDevice(copy)


def test_a_missing_bundle_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="must hold `config.json`"):
        ondevice.OnDevice(tmp_path)


def test_a_bundle_is_never_overwritten(bundle: Path) -> None:
    with pytest.raises(ConfigError, match="must not overwrite"):
        ondevice_bundle.write(make(), Catalogue(names(), names()), bundle)


def test_the_command_line_answers_and_replays(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ["--bundle", str(bundle)]
    assert command.main(["recommend", *folder, "--history", "item-4"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 10
    history = [*names()[2:], "new", "newer"]
    asked = ["--history", " , ".join(history)]
    assert command.main(["recommend", *folder, *asked]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "2 of 60 items are not in the vocabulary" in captured.err
    assert "count as unknown: new, newer\n" in captured.err
    assert "nothing is left to recommend" in captured.err
    assert command.main(["replay", *folder]) == 0
    assert "8 golden cases agree" in capsys.readouterr().out
    assert command.main(["recommend", "--bundle", "nowhere"]) == 1
    assert "ondevice: An on-device bundle" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("history", "words"),
    [
        ("item-4", "must be a list of ids. Received: 'item-4'"),
        (b"item-4", "must be a list of ids"),
        (None, "must be a list of ids. Received: None"),
        ([1, 2], "must be a string. Received: 1 of type int"),
        (["item-4", None], "Received: None of type NoneType"),
        (np.array([4]), "must be a string"),
    ],
)
def test_what_the_servers_refuse_is_refused(
    bundle: Path, history: Any, words: str
) -> None:
    with pytest.raises(ServingError, match=words) as raised:
        ondevice.OnDevice(bundle).recommend(history)
    assert raised.value.code == "INVALID_ARGUMENT"


def test_padding_and_arrays_are_what_they_are_for_the_servers(
    bundle: Path,
) -> None:
    loaded = ondevice.OnDevice(bundle)
    expected = loaded.recommend(["item-4", "item-5"])
    assert loaded.recommend(["", "item-4", "", "item-5", ""]) == expected
    assert loaded.recommend(np.array(["item-4", "item-5"])) == expected
    assert loaded.recommend([""]) == loaded.recommend([])
    assert loaded.recommend([]) != loaded.recommend(["unheard of"])


@pytest.mark.parametrize(
    "indices", [[], [1], [[1] * LENGTH], [1.5] * LENGTH, ["a"] * LENGTH]
)
def test_indices_of_another_shape_are_refused(
    bundle: Path, indices: list[Any]
) -> None:
    with pytest.raises(ServingError, match=f"must be {LENGTH} indices"):
        ondevice.OnDevice(bundle).run(indices)


def test_threads_get_their_own_answers(bundle: Path) -> None:
    loaded = ondevice.OnDevice(bundle)
    histories = [[f"item-{row}", f"item-{row + 9}"] for row in range(2, 42)]
    expected = [loaded.recommend(history) for history in histories]
    wrong: list[int] = []
    barrier = threading.Barrier(8)

    def ask(first: int) -> None:
        barrier.wait()
        for turn in range(100):
            place = (first + turn) % len(histories)
            if loaded.recommend(histories[place]) != expected[place]:
                wrong.append(place)

    threads = [
        threading.Thread(target=ask, args=(5 * number,)) for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
