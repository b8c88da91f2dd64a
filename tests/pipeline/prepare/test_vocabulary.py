import numpy as np
import pyarrow as pa
import pytest

from models.config import FeatureSpec
from pipeline.prepare import vocabulary
from pipeline.tables import columns
from pipeline.tables.prepared import Table
from pipeline.tables.schema import DataError


def rows(**columns: object) -> pa.Table:
    ids = columns.pop("ids", ["a", "b", "c"])
    train = columns.pop("train", [3, 1, 0])
    zeros = pa.array([0] * len(ids), pa.int64())  # type: ignore[arg-type]
    return pa.table(
        {
            "item_id": ids,
            "count_train": pa.array(train, pa.int64()),
            "count_validation": zeros,
            "count_test": zeros,
            "first_seen": zeros,
        }
        | columns
    )


def test_frequent_values_first_then_by_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vocabulary, "MAX_VOCABULARY", 3)
    counts = {"b": 2, "a": 2, "c": 5, "d": 1}
    assert vocabulary.rank(counts) == [("c", 5), ("a", 2), ("b", 2)]


def test_limits_cut_vocabulary_and_width(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vocabulary, "MAX_VOCABULARY", 2)
    monkeypatch.setattr(
        vocabulary, "MAX_WIDTHS", {"multi_categorical": 2, "text": 3}
    )
    table = rows(
        tags=[["x", "y", "z"], ["x"], ["q", ""]],
        words=["one two two three", "two", None],
        ids=["a", "b", "c"],
    )
    encoded, values = vocabulary.encode(
        table,
        {"tags": "multi_categorical", "words": "text"},
        "item_id",
    )
    # x is on two known rows, y and z on one; z does not fit the vocabulary.
    assert values["tags"] == [("x", 2), ("y", 1)]
    assert encoded.features["tags"][2:].tolist() == [[2, 3], [2, 0], [1, 0]]
    # "two" is counted once a row; one and three tie, and one comes first.
    assert values["words"] == [("two", 2), ("one", 1)]
    assert encoded.features["words"][2:].tolist() == [
        [3, 2, 2], [2, 0, 0], [0, 0, 0],
    ]  # fmt: skip
    assert encoded.specs[0] == FeatureSpec("tags", "multi_categorical", 4, 2)


def test_numbers_are_normalised_by_known_rows() -> None:
    table = rows(size=[1.0, 3.0, 100.0])
    encoded, _values = vocabulary.encode(table, {"size": "numeric"}, "item_id")
    assert encoded.features["size"].tolist() == [0, 0, -1, 1, 98]
    assert (encoded.specs[0].mean, encoded.specs[0].std) == (2.0, 1.0)


@pytest.mark.parametrize("numbers", [[], [None], [np.nan], [5.0, 5.0]])
def test_the_deviation_is_never_zero(numbers: list[float | None]) -> None:
    table = rows(
        ids=pa.array(["a", "b"][: len(numbers)], pa.string()),
        train=[1, 1][: len(numbers)],
        size=pa.array(numbers, pa.float64()),
    )
    encoded, _values = vocabulary.encode(table, {"size": "numeric"}, "item_id")
    assert encoded.specs[0].std == max(1.0, encoded.specs[0].mean)
    assert encoded.specs[0].mean in (0.0, 5.0)


def test_tables_survive_the_disk(tmp_path: object) -> None:
    from pathlib import Path

    encoded, _values = vocabulary.encode(
        rows(
            tags=[["x"], ["y", "x"], None],
            kind=["u", None, "v"],
            size=[1.0, None, 2.0],
            title_shown=["A", "B", None],
        ),
        {
            "tags": "multi_categorical",
            "kind": "categorical",
            "size": "numeric",
        },
        "item_id",
    )
    path = Path(str(tmp_path)) / "items.parquet"
    encoded.write(path)
    found = Table.read(path, encoded.specs)
    assert found.ids.tolist() == ["", "", "a", "b", "c"]
    assert found.titles.tolist() == ["", "", "A", "B", ""]
    assert found.num_known == encoded.num_known == 4
    assert found.counts.tolist() == encoded.counts.tolist()
    for name, values in encoded.features.items():
        assert found.features[name].dtype == values.dtype
        assert found.features[name].tolist() == values.tolist()


def test_a_row_out_of_order_is_a_leak() -> None:
    with pytest.raises(DataError, match="index below `num_known`"):
        vocabulary.encode(rows(train=[1, 0, 1]), {}, "item_id")


def test_a_value_that_train_never_saw_is_a_leak(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        vocabulary, "rank", lambda _counts: [("u", 1), ("w", 1)]
    )
    with pytest.raises(DataError, match="must occur in the train part.*: 1 "):
        vocabulary.encode(
            rows(kind=["u", "v", "w"]),
            {"kind": "categorical"},
            "item_id",
        )


@pytest.mark.parametrize(
    "value", [0.0, 7.5, 99_999_999.99, 123_456_789.12, 1.7e18, 1e30]
)
def test_a_number_that_never_varies_says_nothing(value: float) -> None:
    raw = pa.array([value] * 50)
    numbers = raw.to_numpy()
    spec = vocabulary.numeric("price", numbers.mean(), numbers.std())
    encoded = columns.make(spec, []).encode(raw)
    np.testing.assert_allclose(encoded, 0.0, atol=1e-6)


def test_a_number_beyond_all_measure_is_refused() -> None:
    numbers = np.array([1e200, -1e200])
    with np.errstate(over="ignore"), pytest.raises(DataError, match="3.4e38"):
        vocabulary.numeric("price", numbers.mean(), numbers.std())
