import hashlib
from pathlib import Path

import numpy as np
import pytest

from pipeline.run.data import Source, SyntheticSource, TabularSource
from tests.support.data_cases import events, prepared, write_csv


def log_of(tmp_path: Path, *rows: str) -> Source:
    path = write_csv(tmp_path / "log.csv", "user_id,item_id,timestamp", *rows)
    items = write_csv(
        tmp_path / "items.csv", "item_id", *[f"i{n}" for n in range(20)]
    )
    return TabularSource(kind="tabular", path=path, items_path=items)


def test_equal_times_are_ordered_by_digest(tmp_path: Path) -> None:
    names = [f"i{n}" for n in range(8)]
    source = log_of(tmp_path, *[f"u,{name},5" for name in names])
    found = prepared(tmp_path / "out", source)
    expected = sorted(
        names, key=lambda name: hashlib.md5(f"u|{name}".encode()).hexdigest()
    )
    assert [item for item, _t, _p in events(found, "u")] == expected
    assert expected != names


def test_users_too_short_to_split_stay_in_train(tmp_path: Path) -> None:
    source = log_of(
        tmp_path,
        "two,i0,1", "two,i1,2", "one,i0,1",
        "three,i0,1", "three,i1,2", "three,i2,3",
    )  # fmt: skip
    found = prepared(tmp_path / "out", source)
    assert [p for _i, _t, p in events(found, "two")] == [0, 0]
    assert [p for _i, _t, p in events(found, "one")] == [0]
    assert [p for _i, _t, p in events(found, "three")] == [0, 1, 2]


def test_a_random_split_draws_its_shares(tmp_path: Path) -> None:
    source = SyntheticSource(
        num_users=300, num_items=60, interactions_per_user=10
    )
    one, other = (
        prepared(
            tmp_path / str(seed),
            source,
            split="random",
            validation_share=0.2,
            test_share=0.1,
            seed=seed,
        ).summary["parts"]
        for seed in (1, 2)
    )
    total = sum(part["interactions"] for part in one.values())
    assert abs(one["validation"]["interactions"] / total - 0.2) < 0.03
    assert abs(one["test"]["interactions"] / total - 0.1) < 0.03
    assert one["test"]["interactions"] != other["test"]["interactions"]


def test_a_cut_through_one_moment_is_refused(tmp_path: Path) -> None:
    import pytest

    from pipeline.tables.schema import DataError

    source = log_of(tmp_path, *[f"u{n},i{n},7" for n in range(9)])
    with pytest.raises(DataError, match="set prepare.split to 'leave_last_out"):
        prepared(tmp_path / "out", source, split="temporal")


@pytest.mark.parametrize("split", ["temporal", "leave_last_out"])
def test_repeats_that_differ_in_context_do_not_follow_the_file(
    tmp_path: Path, split: str
) -> None:
    rows = [
        f"u{user},i{item},{10 * item},{device},{weight}"
        for user in range(4)
        for item in range(6)
        for device in ("", "tv", "phone")
        for weight in ("1", "2")
    ]
    found = []
    for name, order in (("one", rows), ("two", rows[::-1])):
        log = write_csv(
            tmp_path / f"{name}.csv",
            "user_id,item_id,timestamp,device,weight",
            *order,
        )
        source = TabularSource(
            kind="tabular",
            path=log,
            weight="weight",
            context_features={"device": "categorical"},
        )
        found.append(prepared(tmp_path / name, source, split=split).sequences())
    for name in ("item_indices", "parts", "weights"):
        np.testing.assert_array_equal(*(getattr(f, name) for f in found))
    np.testing.assert_array_equal(*(f.context["device"] for f in found))


def test_a_window_slides_with_the_newest_interaction(tmp_path: Path) -> None:
    def kept(last: int) -> list[int]:
        log = write_csv(
            tmp_path / f"{last}.csv",
            "user_id,item_id,timestamp",
            *(
                f"u{day % 2},i{day % 3},{10**9 + 86_400 * day}"
                for day in range(last + 1)
            ),
        )
        source = TabularSource(kind="tabular", path=log)
        found = prepared(tmp_path / f"out-{last}", source, keep_days=7)
        times = found.sequences().timestamps
        return sorted(((times - 10**9) // 86_400).tolist())

    # What is exactly so many days old is out.
    assert kept(9) == list(range(3, 10))
    assert kept(12) == list(range(6, 13))
