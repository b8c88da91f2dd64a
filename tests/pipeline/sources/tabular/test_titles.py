"""Titles that stand in the log: guessed, taken over, or left alone."""

from pathlib import Path

import pytest

from pipeline.onboard import draft
from pipeline.run.data import Source, TabularSource
from pipeline.tables.schema import DataError
from tests.support.data_cases import prepared, purchases, write_csv

NAMES = ("Tea", "Cup", "Pot", "Jug", "Bowl", "Dish", "Tray", "Fork")


def log(path: Path, header: str, title: str) -> str:
    """45 purchases; `{name}` is of the item, `{n}` of the row."""
    rows = purchases(
        lambda n, user, item: (
            f"{user},{item},2021-01-{n % 28 + 1:02d},"
            + title.format(n=n, user=user, name=f"Blue {NAMES[int(item[1:])]}")
        )
    )
    return write_csv(path / "log.csv", f"customer,sku,date,{header}", *rows)


@pytest.mark.parametrize(
    ("header", "text", "title"),
    [
        ("Description", "{name}", "Description"),
        ("track_name", "{name}", "track_name"),
        # Of the row or of the user, whatever its name.
        ("title", "Review {n}", ""),
        ("name", "Ms {user}", ""),
        ("warehouse", "W{n}", ""),
    ],
)
def test_only_what_an_item_is_called_is_its_title(
    header: str, text: str, title: str, tmp_path: Path
) -> None:
    found = draft.init_config(log(tmp_path, header, text))
    assert not found.problem
    assert (f'\ntitle = "{title}"' in found.text) == bool(title)
    assert ("\ntitle" in found.text) == bool(title)


def source(path: str, **options: str) -> Source:
    return TabularSource(
        kind="tabular",
        path=path,
        user_id="user",
        item_id="item",
        timestamp="time",
        **options,  # type: ignore[arg-type]
    )


def test_an_item_is_called_what_the_log_calls_it_most_often(
    tmp_path: Path,
) -> None:
    path = write_csv(
        tmp_path / "log.csv",
        "user,item,time,text",
        *(
            f"u{n % 3},{item},{n + 1},{text}"
            for n, (item, text) in enumerate(
                [("7", "damaged"), ("8", ""), ("9", "One"), ("7", "A pot")] * 2
                + [("7", "A pot"), ("9", "Two"), ("9", "One"), ("8", "NA")]
            )
        ),
    )
    found = prepared(tmp_path / "out", source(path, title="text"))
    shown = dict(zip(found.items.ids, found.items.titles, strict=True))
    assert {item: shown[item] for item in "789"} == {
        "7": "A pot",
        "8": "",
        "9": "One",
    }
    plain = prepared(tmp_path / "plain", source(path))
    assert set(plain.items.titles) == {""}
    assert set(plain.items.ids) == set(found.items.ids)


def test_a_title_that_is_no_column_of_the_log_is_said(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "log.csv", "user,item,time", "a,b,1", "a,c,2")
    with pytest.raises(DataError, match="title = 'text'.*set it to ''"):
        prepared(tmp_path / "out", source(path, title="text"))
