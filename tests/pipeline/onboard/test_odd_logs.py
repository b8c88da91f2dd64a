"""Logs with something odd about them: read all the same, or said in words."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.onboard import check, draft
from pipeline.run import config
from tests.support.data_cases import purchases, write_csv


def log(path: Path, header: str, row: Callable[[int, str, str], str]) -> str:
    return write_csv(path / "log.csv", header, *purchases(row))


def checked(path: Path, log: str, items: str = "") -> tuple[str, str]:
    """The config that is drafted for a log, and what `check` says of it."""
    found = draft.init_config(log, items)
    assert not found.problem, found.problem
    (path / "c.toml").write_text(found.text, "utf-8")
    told = check.check(config.load(path / "c.toml"))
    return found.text, "\n".join(told)


@pytest.mark.parametrize(
    ("header", "row", "options"),
    [
        ("user,item,date,date", "{u},{i},{t},{t}",
         ('timestamp = "date_1"  # or: date_2',)),
        ("user,item,date,,", "{u},{i},{t},,", ('timestamp = "date"',)),
        ("user,,date", "{u},{i},{t}", ('item_id = "column_2"',)),
        ("user,item,date", "{u},{i},{t},", ('item_id = "item"',)),
        (",user,item,date", "{n},{u},{i},{t}", ('user_id = "user"',)),
        ("user,item,date,", "{u},{i},{t},card", ('item_id = "item"',)),
        ("user,item,date,x", "00{u},-{i},{t},", ('item_id = "item"',)),
    ],
)  # fmt: skip
def test_names_that_are_odd_cost_nothing(
    header: str, row: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    path = log(
        tmp_path,
        header,
        lambda n, u, i: row.format(
            n=n, u=u[1:], i=int(i[1:]) + 1, t=f"2021-01-{n % 28 + 1:02d}"
        ),
    )
    text, told = checked(tmp_path, path)
    for option in options:
        assert option in text
    assert "45 interactions of 9 users with 8 items" in told


@pytest.mark.parametrize(
    "above",
    ["# of the shop\n# in March", "Report of 2021,,,", "Report of 2021\n\n"],
)
def test_lines_above_the_names_are_said(above: str, tmp_path: Path) -> None:
    names = "customer,sku,date,amount"
    path = log(
        tmp_path,
        f"{above}\n{names}",
        lambda n, u, i: f"{u},{i},2021-01-{n % 28 + 1:02d},{n}.5",
    )
    found = draft.init_config(path)
    assert f"above {names!r}" in found.problem
    assert "Delete what stands above it" in found.text


def test_dates_of_two_forms_are_no_silent_order_of_rows(tmp_path: Path) -> None:
    path = log(
        tmp_path,
        "user,item,date",
        lambda n, u, i: (
            f"{u},{i},"
            + (f"2021-01-{n % 28 + 1:02d}" if n % 2 else f"{n % 28 + 1}.1.2021")
        ),
    )
    text, _told = checked(tmp_path, path)
    assert "Doubt: 'date' sounds like the time" in text


def test_ids_a_spreadsheet_has_cut_are_said(tmp_path: Path) -> None:
    path = log(
        tmp_path,
        "user,barcode,time",
        lambda n, u, i: (
            f"{u},"
            + ("4.01E+12" if n % 3 else f"40100000000{i[1:]}")
            + f",{1600000000 + n}"
        ),
    )
    text, told = checked(tmp_path, path)
    for said in (text, told):
        assert "`item_id` is written like 1.23E+12 in 30 rows" in said


def test_a_catalogue_of_other_ids_is_said_with_both(tmp_path: Path) -> None:
    path = log(
        tmp_path,
        "customer,sku,time",
        lambda n, u, i: f"{u},000{i[1:]},{1600000000 + n}",
    )
    items = write_csv(
        tmp_path / "items.csv",
        "sku,name",
        *(f"{n},Thing {n}" for n in range(8)),
    )
    text, told = checked(tmp_path, path, items)
    assert "none of the ids in 'sku' of the items, such as '0', is" in text
    assert "such as '0000'" in text
    assert "8 items of the interactions are not in it" in told


@pytest.mark.parametrize(
    ("header", "options"),
    [
        (
            "Kundennummer,Artikelnummer,Bestelldatum,Menge,Bezeichnung",
            {"quantity": "Menge", "title": "Bezeichnung"},
        ),
        (
            "Numéro client,Référence produit,Date,Quantité,Désignation",
            {"quantity": "Quantité", "title": "Désignation"},
        ),
        (
            "会員番号,商品番号,購入日,数量,商品名",
            {"quantity": "数量", "title": "商品名"},
        ),
    ],
)
def test_columns_of_other_languages_mean_the_same(
    header: str, options: dict[str, str], tmp_path: Path
) -> None:
    path = log(
        tmp_path,
        header,
        lambda n, u, i: (
            f"{u[1:]},{i[1:]},2021-01-{n % 28 + 1:02d},"
            f"{-1 if n % 9 == 8 else n % 3 + 1},Tasse {i}"
        ),
    )
    text, told = checked(tmp_path, path)
    user, item, time = header.split(",")[:3]
    options |= {"user_id": user, "item_id": item, "timestamp": time}
    for key, column in options.items():
        assert f'\n{key} = "{column}"' in text
    assert f"5 interactions left out because `{options['quantity']}`" in told


def test_ids_that_differ_in_capitals_alone_are_said(tmp_path: Path) -> None:
    path = log(
        tmp_path,
        "email,item,time",
        lambda n, u, i: (
            f"{u.upper() if n > 9 and n % 2 else u}@x.org,{i},{1600000000 + n}"
        ),
    )
    text, told = checked(tmp_path, path)
    said = "has 9 values that differ from another in capitals alone"
    assert f"Doubt: user_id = 'email' {said}" in text
    assert f"'item' {said[:4]}" not in text
    assert "of 18 users" in told


def test_a_rating_in_words_is_said(tmp_path: Path) -> None:
    path = log(
        tmp_path,
        "user,item,rating,time",
        lambda n, u, i: (
            f"{u},{i},{'good' if n % 2 else 'bad'},{1600000000 + n}"
        ),
    )
    text, _told = checked(tmp_path, path)
    assert "'rating' sounds like the rating, but is no number, such as" in text


def test_lines_above_a_catalogue_are_said(tmp_path: Path) -> None:
    path = log(
        tmp_path, "user,sku,time", lambda n, u, i: f"{u},{i},{1600000000 + n}"
    )
    items = write_csv(
        tmp_path / "items.csv",
        "# of the shop",
        "sku,name",
        *(f"i{n},Thing {n}" for n in range(8)),
    )
    found = draft.init_config(path, items)
    assert "above 'sku,name'" in found.problem and items in found.problem


def test_rows_of_nothing_are_a_problem_in_words(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("{}\n{}\n")
    found = draft.init_config(str(path))
    assert "must have a column of users" in found.problem
