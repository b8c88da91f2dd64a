"""Filters of a command line, against what the catalogue has."""

import difflib
from collections.abc import Sequence

import pyarrow.compute as pc

from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import DataError
from serving import ids

_OPTION = "--filter"


def read(prepared: Prepared, texts: Sequence[str]) -> dict[str, list[str]]:
    """Reads `FEATURE=VALUES`, each a feature, as `Query.filters`.

    Raises:
        DataError: If no item can be asked for by a feature, or has a value.
        ServingError: If values are not written as `serving.ids` says.
    """
    known = prepared.item_values() if texts else {}
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        read = ids.written([values], _OPTION)
        if not equals or not read:
            raise DataError(
                f"{_OPTION} must be FEATURE=VALUES. Received: {text!r} (from "
                "the command line). Write it as genres=Drama,Comedy."
            )
        if name not in known:
            raise _unknown("feature", name, list(known))
        have = pc.unique(known[name].flatten()).to_pylist()
        for value in read:
            if value not in have:
                raise _unknown(f"value of {name}", value, have)
        found.setdefault(name, []).extend(read)
    return found


def _unknown(kind: str, given: str, known: list[str]) -> DataError:
    near = difflib.get_close_matches(given, known, 1)
    shown = ", ".join(repr(name) for name in sorted(known)[:5]) or "none"
    return DataError(
        f"{_OPTION} must name a {kind} that items have: {shown}"
        f"{', ...' if len(known) > 5 else ''}. Received: {given!r} (from the "
        "command line). "
        + (f"Did you mean {near[0]!r}?" if near else "Leave it out.")
    )
