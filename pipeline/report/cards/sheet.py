"""A data sheet, with the sections of Gebru et al. 2021."""

from __future__ import annotations

from pipeline.report.cards.owner import Owner
from pipeline.report.document import Block, Notes, Section, Table
from pipeline.report.found import Run
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import iso


def sheet(run: Run, owner: Owner) -> list[Section]:
    """The sections; none without prepared tables."""
    prepared = run.prepared
    if prepared is None:
        return []
    return [
        Section(title, "", [*facts, *owner.says(title, question)])
        for title, facts, question in (
            (
                "Motivation",
                (),
                "why was the data collected, by whom, who paid for it?",
            ),
            (
                "Composition",
                [_composition(prepared), _parts(prepared), _features(prepared)],
                "does it hold anything sensitive, and whom does it leave out?",
            ),
            (
                "Collection process",
                [_collection(run, prepared)],
                "how was it recorded, did people agree, can they withdraw?",
            ),
            (
                "Preprocessing",
                [_preprocessing(run, prepared)],
                "what was done to it before it came here?",
            ),
            (
                "Uses",
                [
                    "In this run: to train and to measure the models of the "
                    "model card. What people took shows what was shown to "
                    "them as well as what they like."
                ],
                "what else is it used for, and what must it not be used for?",
            ),
            (
                "Distribution",
                ["Nothing of it leaves the run but what the models hold."],
                "may it be passed on, under which licence?",
            ),
            (
                "Maintenance",
                (),
                "who keeps it, how often does it change, who corrects it?",
            ),
        )
    ]


def _composition(prepared: Prepared) -> Block:
    found = prepared.summary
    rated = prepared.sequences().ratings is not None
    return Notes(
        [
            f"{found['interactions']:,} interactions of "
            f"{found.get('active_users', found['users']):,} users with "
            f"{found.get('active_items', found['items']):,} items, from "
            f"{iso(found['first'])} to {iso(found['last'])}.",
            "An interaction is a user, an item and a time"
            + (", with a rating." if rated else "."),
            "The most popular tenth of the items holds "
            f"{found['popularity']['top_10%']:.0%} of the train part.",
        ]
    )


def _parts(prepared: Prepared) -> Block:
    return Table(
        f"Parts, {prepared.split} split",
        ("part", "interactions", "users", "new users", "new items"),
        [
            (
                part,
                f"{row['interactions']:,}",
                f"{row['users']:,}",
                f"{row['cold_users_share']:.1%}",
                f"{row['cold_items_share']:.1%}",
            )
            for part, row in prepared.summary["parts"].items()
        ],
    )


def _features(prepared: Prepared) -> Block:
    return Table(
        "Columns beside ids and times",
        ("of", "column", "kind", "values"),
        [
            (table, name, column.spec.kind, _values(prepared, key))
            for table in ("items", "users", "context")
            for name, column in prepared.columns(table).items()
            for key in (f"{table}.{name}",)
        ],
        num_texts=3,
    )


def _values(prepared: Prepared, name: str) -> str:
    """How many values a column has; numbers are not counted."""
    found = prepared.vocabularies.get(name)
    return f"{len(found):,}" if found else "–"


def _collection(run: Run, prepared: Prepared) -> Block:
    kind = run.config.source.kind
    made_up = "It is made up by a program: no person stands behind it."
    lines = [f"Source: {kind}."]
    if kind == "synthetic":
        lines.append(made_up)
    path = getattr(run.config.source, "path", "")
    if path:
        lines.append(f"Read from {path}.")
    return Notes([*lines, *prepared.summary.get("notes", ())])


def _preprocessing(run: Run, prepared: Prepared) -> Block:
    found, options = prepared.summary, run.config.prepare
    read = found.get("interactions_read", found["interactions"])
    return Notes(
        [
            f"{read - found['interactions']:,} of {read:,} interactions were "
            "left out by filters: minimum rating "
            f"{options.min_rating}, at least {options.min_user_interactions} "
            f"a user and {options.min_item_interactions} an item, repeated "
            f"interactions: {options.repeated}.",
            f"Cut into parts: {found['cuts']['rule']}.",
            "Vocabularies and statistics come from the train part alone.",
        ]
    )
