"""What the data are like: parts, long tail, histories, activity over time."""

from __future__ import annotations

import datetime

import numpy as np

from models.config import FIRST_ITEM
from pipeline.report.document import Facts, Figure, Notes, Section, Table
from pipeline.report.found import Run
from pipeline.report.plots import bars, curves
from pipeline.tables import sequences
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import FIRST_MOMENT, PARTS, TRAIN, iso

_NUM_BINS = 60


def data(run: Run) -> Section:
    """The prepared tables in figures and pictures."""
    prepared = run.prepared
    if prepared is None:
        return Section("Data")
    figures = prepared.summary
    facts = [
        (name, f"{figures.get(f'active_{name}', figures[name]):,}", "")
        for name in ("interactions", "users", "items")
    ]
    top = figures["popularity"]["top_10%"]
    facts.append(("long tail", f"{top:.0%}", "on a tenth of the items"))
    if "oracle" in figures:
        best = f"{figures['oracle']['ndcg@10']:.3f}"
        facts.append(("best possible NDCG@10", best, "known to the generator"))
    parts = Table(
        f"{figures['split']} split: {figures['cuts']['rule']}",
        (
            "part",
            "from",
            "to",
            "interactions",
            "users",
            "new users",
            "new items",
        ),
        [
            (
                part,
                iso(row["first"]) if row["first"] is not None else "–",
                iso(row["last"]) if row["last"] is not None else "–",
                f"{row['interactions']:,}",
                f"{row['users']:,}",
                f"{row['cold_users_share']:.1%}",
                f"{row['cold_items_share']:.1%}",
            )
            for part, row in figures["parts"].items()
        ],
        num_texts=3,
    )
    drawn = [_tail(prepared), _histories(prepared), *_activity(prepared)]
    notes = Notes(figures.get("notes", []))
    return Section("Data", "", [Facts(facts), parts, *drawn, notes])


def _tail(prepared: Prepared) -> Figure:
    """How much of the log the most popular items hold."""
    counts = np.sort(prepared.items.counts[TRAIN, FIRST_ITEM:])[::-1]
    held = np.cumsum(counts) / max(int(counts.sum()), 1)
    # As many points as a screen can show.
    places = np.linspace(0, len(held) - 1, min(200, len(held))).astype(int)
    shares = (places + 1) / max(len(held), 1)
    half = int(np.searchsorted(held, 0.5)) + 1
    return Figure(
        "The long tail",
        f"{half:,} of {len(held):,} items hold half of the train part.",
        curves.lines(
            {"": ((100 * shares).tolist(), (100 * held[places]).tolist())},
            ("% of the items, most popular first", "% of the interactions"),
        ),
    )


def _histories(prepared: Prepared) -> Figure:
    """How many interactions users have, on a scale of doublings."""
    lengths = prepared.users.counts[:, FIRST_ITEM:].sum(axis=0)
    lengths = lengths[lengths > 0]
    first = int(np.log2(lengths.min(initial=2**31)))
    top = int(np.ceil(np.log2(lengths.max(initial=1) + 1)))
    places = list(range(first, max(top, first + 1) + 1))
    # Between whole numbers: 1, 2 to 3, 4 to 7, and so on.
    heights, _ = np.histogram(lengths, 2.0 ** np.array(places) - 0.5)
    return Figure(
        "Interactions a user",
        f"Half of the users have {int(np.median(lengths)):,} or fewer."
        if len(lengths)
        else "No user has any.",
        bars.stacked(
            places,
            {"users": heights.tolist()},
            ("interactions of a user", "users"),
            {place: f"{2**place:,}" for place in places},
        ),
    )


def _activity(prepared: Prepared) -> list[Figure]:
    """Interactions over time by part; nothing where times are positions."""
    first, last = prepared.summary["first"], prepared.summary["last"]
    if first < FIRST_MOMENT:
        return []
    edges = np.linspace(first, last + 1, _NUM_BINS + 1)
    heights = np.zeros((len(PARTS), _NUM_BINS), np.int64)
    for block in sequences.iterate(prepared.directory):
        for code in range(len(PARTS)):
            times = block.timestamps[block.parts == code]
            # Ends alone are much faster than edges on a long log.
            found, _ = np.histogram(times, _NUM_BINS, (first, last + 1))
            heights[code] += found
    busiest = int(heights.sum(axis=0).argmax())
    when = (_day(edges[0]), _day(edges[-1]), _day(edges[busiest]))
    return [
        Figure(
            "Activity over time",
            f"From {when[0]} to {when[1]}; busiest around {when[2]}.",
            bars.stacked(
                edges.tolist(),
                {
                    part: row.tolist()
                    for part, row in zip(PARTS, heights, strict=True)
                    if row.any()
                },
                ("", "interactions"),
                {
                    float(place): _day(place)
                    for place in np.linspace(first, last, 6)[1:-1]
                },
            ),
        )
    ]


def _day(timestamp: float) -> str:
    moment = datetime.datetime.fromtimestamp(int(timestamp), datetime.UTC)
    return moment.strftime("%Y-%m-%d")
