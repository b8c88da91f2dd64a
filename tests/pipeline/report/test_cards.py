"""The cards of a run, and the words of its owner."""

from pathlib import Path

from pipeline.report.cards import model, sheet
from pipeline.report.cards.owner import Owner
from pipeline.report.document import Section, Table
from pipeline.report.found import Run
from pipeline.run.config import Config
from pipeline.tables.prepared import Prepared
from tests.support import evaluations
from tests.support.prepared_stub import make_prepared

MITCHELL = [
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
]
GEBRU = [
    "Motivation",
    "Composition",
    "Collection process",
    "Preprocessing",
    "Uses",
    "Distribution",
    "Maintenance",
]
PART = {
    "interactions": 9,
    "users": 3,
    "cold_users_share": 0.0,
    "cold_items_share": 0.25,
    "last": 8,
}
SUMMARY = {
    "users": 3,
    "items": 4,
    "first": 0,
    "last": 9,
    "interactions_read": 12,
    "popularity": {"top_10%": 0.4},
    "cuts": {"rule": "by lot"},
    "parts": {"train": PART},
}


def prepared() -> Prepared:
    found = make_prepared([[2, 3, 4], [3, 4, 5], [2, 5, 4]], 4)
    found.summary.update(SUMMARY)
    return found


def run(tmp_path: Path, tables: Prepared | None) -> Run:
    found = evaluations.made(window_markov=0.15)
    config = Config(name="orders", seed=7)
    nothing = (None, {}, {}, {}, [], evaluations.details("two_stage"), None)
    return Run(config, tmp_path, (), {}, tables, found, {}, *nothing)


def words(sections: list[Section]) -> str:
    return "\n".join(repr(section) for section in sections)


def test_every_section_is_there_with_figures_of_the_run(tmp_path: Path) -> None:
    owner = Owner.read(tmp_path / "orders.toml")
    found = run(tmp_path, prepared())
    card, data = model.card(found, owner), sheet.sheet(found, owner)
    assert [section.title for section in card] == MITCHELL
    assert [section.title for section in data] == GEBRU
    (table,) = (
        block
        for block in card[6].blocks
        if isinstance(block, Table) and block.ours
    )
    assert table.rows[0][:3] == ("two_stage", "0.2000", "0.1000 to 0.2000")
    assert "1.50 times as popular" in words(card)
    assert "Fewer than 100 queries stand behind: cold" in words(card)
    assert "3 of 12 interactions were left out" in words(data)
    assert "made up by a program" in words(data)


def test_what_no_run_can_know_is_marked(tmp_path: Path) -> None:
    path = tmp_path / "orders.toml"
    found = run(tmp_path, prepared())
    sections = model.card(found, Owner.read(path))
    sections += sheet.sheet(found, Owner.read(path))
    for section in sections:
        last = section.blocks[-1]
        assert isinstance(last, str) and section.title in last
        assert last.startswith("To be filled in by the owner")
        assert "orders.card.md" in last


def test_the_owner_s_words_take_the_mark_s_place(tmp_path: Path) -> None:
    (tmp_path / "orders.card.md").write_text(
        "# ours\n\n## intended Use\nFor the <shop>\nalone.\n\nNever else.\n"
        "## Purpose\nNone.\n"
    )
    owner = Owner.read(tmp_path / "orders.toml")
    card = model.card(run(tmp_path, None), owner)
    assert list(card[1].blocks[-2:]) == ["For the <shop> alone.", "Never else."]
    assert "owner" in words(card[:1]) and "owner" not in words(card[1:2])
    (said,) = owner.unused(MITCHELL)
    assert "“purpose”" in said and "Intended use" in said


def test_nothing_is_said_of_what_was_not_run(tmp_path: Path) -> None:
    owner = Owner.read(tmp_path / "orders.toml")
    assert sheet.sheet(run(tmp_path, None), owner) == []
