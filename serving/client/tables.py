"""Answers as text for people and as dictionaries for machines."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.client.query import Items, Recommendations, VersionStatus
from serving.errors import ServingError


def read_titles(path: str) -> dict[str, str]:
    """Reads item titles from JSON or from `id<tab>title` lines.

    JSON is an object from id to title or a list of objects with `item_id` and
    `title`. No path gives no titles.

    Raises:
        ServingError: If the file cannot be read or holds something else.
    """
    if not path:
        return {}
    try:
        text = Path(path).read_text(encoding="utf-8")
        if text.lstrip().startswith("{"):
            return {str(key): str(value) for key, value in _json(text).items()}
        if text.lstrip().startswith("["):
            return {
                str(row["item_id"]): str(row["title"]) for row in _json(text)
            }
        rows = [line.split("\t") for line in text.splitlines() if line]
        return {row[0]: row[1] for row in rows}
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ServingError(
            "A title file must be JSON (id to title) or id<tab>title lines. "
            f"Received: {path!r} ({error!r}, from --titles).",
            "INVALID_ARGUMENT",
        ) from error


def _json(text: str) -> Any:
    return json.loads(text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lays out columns; those that hold numbers are right-aligned."""
    widths = [
        max(len(cell) for cell in column)
        for column in zip(header, *rows, strict=True)
    ]
    right = [
        bool(rows) and all(_is_number(row[index]) for row in rows)
        for index in range(len(header))
    ]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def _is_number(cell: str) -> bool:
    return cell.lstrip("-").replace(".", "", 1).isdigit() or cell == "-"


def items(answer: Items | Recommendations, titles: Mapping[str, str]) -> str:
    """Shows one answer: rank, item, title, score, then what it took."""
    ratings = getattr(answer, "predicted_ratings", ())
    header = ["#", "item", "title", "score"] + ["rating"] * bool(ratings)
    rows = []
    for index, item in enumerate(answer.item_ids):
        row = [str(index + 1), item, titles.get(item, ""), ""]
        score = answer.scores[index]
        row[3] = "-" if math.isnan(score) else f"{score:.4f}"
        rows.append(row + [f"{rating:.2f}" for rating in ratings[index:][:1]])
    if not any(row[2] for row in rows):
        header.pop(2)
        for row in rows:
            row.pop(2)
    if isinstance(answer, Items):
        took = f"{answer.latency_ms:.1f} ms"
    elif answer.fused:
        took = f"{answer.latency_ms:.1f} ms, one call"
    else:
        took = (
            f"{answer.latency_ms:.1f} ms = retrieval "
            f"{answer.retrieval_ms:.1f} + ranking {answer.ranking_ms:.1f}"
        )
    lines = [table(header, rows), f"version {answer.version}, {took}"]
    if isinstance(answer, Recommendations) and answer.degraded:
        lines.append(f"DEGRADED: {answer.degraded}. {answer.reason}")
    return "\n".join(lines)


def statuses(rows: Sequence[VersionStatus]) -> str:
    """Shows the versions that a server knows of."""
    return table(
        ["model", "version", "state", "error"],
        [[row.model, str(row.version), row.state, row.error] for row in rows],
    )


def document(answer: Any, titles: Mapping[str, str] | None = None) -> Any:
    """Turns answers into what JSON can hold: NaN becomes null."""
    if dataclasses.is_dataclass(answer) and not isinstance(answer, type):
        found = {
            field.name: document(getattr(answer, field.name))
            for field in dataclasses.fields(answer)
        }
        if titles and "item_ids" in found:
            found["titles"] = [titles.get(i, "") for i in found["item_ids"]]
        return found
    if isinstance(answer, list | tuple):
        return [document(value, titles) for value in answer]
    if isinstance(answer, float) and not math.isfinite(answer):
        return None
    return answer
