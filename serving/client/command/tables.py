"""Answers as text for people and as dictionaries for machines."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from serving.client.query import Items, Recommendations
from serving.errors import InvalidRequest

Titles = Mapping[str, str]


def read_titles(path: str) -> dict[str, str]:
    """Reads item titles from JSON or from `id<tab>title` lines.

    JSON is an object from id to title or a list of objects with `item_id` and
    `title`. No path gives no titles.
    """
    if not path:
        return {}
    try:
        text = Path(path).read_text(encoding="utf-8")
        if text.lstrip()[:1] in ("{", "["):
            found = json.loads(text)
            if isinstance(found, list):
                found = {row["item_id"]: row["title"] for row in found}
            return {str(key): str(value) for key, value in found.items()}
        rows = [line.split("\t") for line in text.splitlines() if line]
        return {row[0]: row[1] for row in rows}
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise InvalidRequest(
            "A title file must be JSON (id to title) or id<tab>title lines. "
            f"Received: {path!r} ({error!r}, from --titles)."
        ) from error


def shown(answer: object, titles: Titles) -> str:
    """Shows an answer: a table of items or versions, else its own text."""
    if isinstance(answer, Items | Recommendations):
        return _items(answer, titles)
    if type(answer) is list:
        return _table(
            ["model", "version", "state", "error"],
            [
                [row.model, str(row.version), row.state, row.error]
                for row in answer
            ],
        )
    return str(answer)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lays out columns; those that hold numbers are right-aligned."""
    columns = []
    for name, *cells in zip(header, *rows, strict=True):
        width = max(map(len, [name, *cells]))
        is_number = bool(cells) and all(map(_is_number, cells))
        align = str.rjust if is_number else str.ljust
        columns.append(
            [align(cell, width) for cell in [name, "-" * width, *cells]]
        )
    return "\n".join(
        "  ".join(line).rstrip() for line in zip(*columns, strict=True)
    )


def _is_number(cell: str) -> bool:
    return cell.lstrip("-").replace(".", "", 1).isdigit() or cell == "-"


def _items(answer: Items | Recommendations, titles: Titles) -> str:
    """Shows one answer: rank, item, title, score, then what it took."""
    ratings = getattr(answer, "predicted_ratings", ())
    has_titles = any(titles.get(item) for item in answer.item_ids)
    header = ["#", "item", *["title"] * has_titles, "score"]
    rows = []
    for index, item in enumerate(answer.item_ids):
        score = answer.scores[index]
        rows.append(
            [
                str(index + 1),
                item,
                *[titles.get(item, "")] * has_titles,
                "-" if math.isnan(score) else f"{score:.4f}",
                *[f"{rating:.2f}" for rating in ratings[index:][:1]],
            ]
        )
    took = f"{answer.latency_ms:.1f} ms"
    if isinstance(answer, Recommendations):
        took += (
            ", one call"
            if answer.fused
            else f" = retrieval {answer.retrieval_ms:.1f} + ranking "
            f"{answer.ranking_ms:.1f}"
        )
    table = _table(header + ["rating"] * bool(ratings), rows)
    label = f" ({answer.label})" if answer.label else ""
    lines = [table, f"version {answer.version}{label}, {took}"]
    if isinstance(answer, Recommendations) and answer.degraded:
        lines.append(f"DEGRADED: {answer.degraded}. {answer.reason}")
    return "\n".join(lines)


def document(answer: object, titles: Titles | None = None) -> object:
    """Turns answers into what JSON can hold: NaN becomes null."""
    if dataclasses.is_dataclass(answer) and not isinstance(answer, type):
        found = {
            field.name: document(getattr(answer, field.name))
            for field in dataclasses.fields(answer)
        }
        if titles and isinstance(answer, Items | Recommendations):
            found["titles"] = [titles.get(item, "") for item in answer.item_ids]
        return found
    if isinstance(answer, list | tuple):
        return [document(value, titles) for value in answer]
    if isinstance(answer, dict):
        return {name: document(value, titles) for name, value in answer.items()}
    if isinstance(answer, float) and not math.isfinite(answer):
        return None
    return answer
