"""What the features of a table are called, and where they are read from.

Enters: rows by the names of their columns. Leaves: the same rows, features
under their own names too (`tables.names`).
"""

from collections.abc import Iterator, Mapping

from pipeline.run.data import TabularSource
from pipeline.sources.canonical.tables import Batch
from pipeline.tables import names
from pipeline.tables.schema import DataError

# Of the config, by the table whose columns they are.
SECTIONS: dict[str, names.Section] = {
    "interactions": "context_features",
    "items": "item_features",
    "users": "user_features",
}


def kinds(source: TabularSource, table: str) -> dict[str, str]:
    """Kinds of a table's features by their own names."""
    section = SECTIONS[table]
    return names.kinds(section, getattr(source, section))


def renamed(batch: Batch, mapped: Mapping[str, str], table: str) -> Batch:
    """Rows with features under their own names too."""
    columns, section = dict(batch.columns), SECTIONS[table]
    for key, column in mapped.items():
        name = names.of(section, column)
        if not key.startswith(f"{section}.") or name == column:
            continue
        if name in mapped.values():
            raise DataError(
                "No feature may be called like another column. Received: "
                f"{key}, which is {name!r} to the models, beside a column of "
                "that name (from [source]). Rename or leave out one of them."
            )
        columns[name] = columns[column]
    return Batch(columns, batch.lines, batch.file)


def called(source: TabularSource) -> Iterator[str]:
    """Says which features are called otherwise than their columns."""
    for section in SECTIONS.values():
        for column in getattr(source, section):
            if (name := names.of(section, column)) != column:
                yield (
                    f"`{section}.{column}` is called {name!r} in models and "
                    "requests"
                )
