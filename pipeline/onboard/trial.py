"""What preparing somebody's log tells: its figures and the split.

`init-config` and `check` prepare in a directory that is deleted again.
"""

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import sources
from pipeline.prepare import engine as engines
from pipeline.prepare import step
from pipeline.run.config import Config
from pipeline.run.data import PrepareConfig, Source, is_timed
from pipeline.sources.canonical.tables import Tables
from pipeline.tables.prepared import Prepared, load, require_questions
from pipeline.tables.schema import FIRST_MOMENT, DataError


@dataclass(frozen=True)
class Trial:
    """A source that is read once and prepared as often as needed."""

    source: Source
    seed: int
    tables: Tables
    directory: Path

    def figures(self, options: PrepareConfig) -> dict[str, Any]:
        """Prepares the tables, and forgets them but for their summary.

        Raises:
            DataError: If the data cannot be used, or leave nobody to test.
        """
        with self.prepared(options) as tables:
            return tables.summary

    @contextmanager
    def prepared(self, options: PrepareConfig) -> Iterator[Prepared]:
        """Prepares the tables, which are deleted after the block.

        Raises:
            DataError: If the data cannot be used, or leave nobody to test.
        """
        config = Config("check", self.seed, source=self.source, prepare=options)
        with tempfile.TemporaryDirectory(dir=self.directory) as place:
            directory = Path(place)
            (directory / ".scratch").mkdir()
            with engines.open_engine(options, directory / ".scratch") as engine:
                step.write(config, self.tables, engine, directory)
            tables = load(directory)
            figures = tables.summary
            require_questions(
                options.split,
                figures["parts"]["test"]["users"],
                figures["users"],
                figures["known_items"],
            )
            yield tables


@contextmanager
def read(source: Source, seed: int = 42) -> Iterator[Trial]:
    """Reads a source into a directory that is deleted after the block.

    Raises:
        DataError: If the source is missing, corrupt or empty.
    """
    with tempfile.TemporaryDirectory(
        prefix="check-", ignore_cleanup_errors=True
    ) as place:
        directory = Path(place)
        (directory / "source").mkdir()
        tables = sources.read(source, seed, directory / "source")
        yield Trial(source, seed, tables, directory)


def split(
    tried: Trial, options: PrepareConfig, by_item: bool
) -> tuple[PrepareConfig, list[str], dict[str, Any]]:
    """Chooses the split the data can bear, whose rows may be sorted by item.

    Returns:
        The options with it; the reasons, one line each; the figures.

    Raises:
        DataError: If the data cannot be used, or leave nobody to test.
    """
    timed = is_timed(tried.source)
    reason = "There are no timestamps to cut at."
    if timed:
        options = dataclasses.replace(options, split="temporal")
        figures, reason = _cut(tried, options)
        if figures:
            reasons = [
                "Cuts the log at two moments, as in production: train on the "
                "past,",
                reason,
            ]
            return options, reasons, figures
    options = dataclasses.replace(options, split="leave_last_out")
    figures = tried.figures(options)
    if not timed and by_item:
        reasons = [
            "There are no timestamps, and each user's rows are sorted by the "
            "item: the last",
            "one is the highest id, not the latest. So the test is drawn at "
            "random; nothing is",
            "known of the order people take items in.",
        ]
        options = dataclasses.replace(options, split="random")
        return options, reasons, tried.figures(options)
    reasons = [reason, "So each user's last interaction is the test."]
    return options, reasons, figures


def _cut(tried: Trial, options: PrepareConfig) -> tuple[dict[str, Any], str]:
    """Figures of a cut in time, {} where it is no good, and why."""
    try:
        figures = tried.figures(options)
    except DataError as error:
        if "temporal split needs" not in str(error):
            raise
        return {}, "The timestamps allow no two cuts."
    if figures["first"] >= 0 and figures["last"] < FIRST_MOMENT:
        return {}, "The timestamps are positions or counters, not moments."
    test = figures["parts"]["test"]
    cold = test["cold_users_share"]
    warm = round(test["users"] * (1.0 - cold))
    if warm >= 300 and cold <= 0.5:
        return figures, f"test on the future ({warm:,} users have both)."
    return {}, (
        f"A cut in time would leave {warm:,} known users to test on "
        f"({cold:.0%} would be new)."
    )
