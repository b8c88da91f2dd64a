"""Runs a replay or follows up what was shown; writes JSON and a page.

Enters: a config and what the command line names. Leaves: both files beside
the run's steps.
"""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline import sources
from pipeline.feedback import outcomes as followed
from pipeline.feedback import replay as replays
from pipeline.feedback import rules, sides
from pipeline.feedback.log import Log
from pipeline.feedback.outcomes import Outcomes
from pipeline.feedback.replay import Replay
from pipeline.report import markdown
from pipeline.report.document import Document, Notes, Section, Table
from pipeline.run import manifest
from pipeline.run import rules as decisions
from pipeline.run.config import Config
from pipeline.run.data import TabularSource
from pipeline.run.rules import Rule
from serving.prediction_log.user_ids import UserIds
from serving.releases import files, history

MOST_REQUESTS = 2_000


def replay(
    config: Config,
    log: Log,
    live: str = "",
    new: str = sides.STAGED,
    most: int = MOST_REQUESTS,
) -> tuple[Replay, list[Rule]]:
    """Replays a log; what the gate says of it is in the files too.

    Raises:
        DataError: If there is nothing to replay, or nobody to ask.
    """
    found = replays.run(
        log,
        sides.find(config, live, "LIVE"),
        sides.find(config, new, "NEW"),
        most,
    )
    judged = rules.judge(found)
    directory = config.run_directory
    manifest.write_json(
        directory / replays.JSON,
        found.plain() | {"rules": decisions.plain(judged)},
    )
    write_page(
        directory / replays.PAGE,
        f"Replay of {config.name}",
        "How the answers differ",
        replays.table(found),
        replays.lines(found, log),
    )
    return found, judged


def at_the_gate(
    config: Config, where: str, new: str = sides.STAGED
) -> list[Rule]:
    """What a log says of the staged bundle, or of a version.

    Raises:
        DataError: If there is nothing to replay.
    """
    if not history.read(config.serving_directory):
        return [Rule("replay", "Nothing is live yet to replay the log with.")]
    _, judged = replay(config, Log(where), new=new)
    return judged


def outcomes(
    config: Config,
    log: Log,
    interactions: str,
    hours: float,
    k: int,
    key: Path | None,
) -> Outcomes:
    """Follows up what was shown; the files are read as the run's own are.

    Raises:
        DataError: If they cannot be, or do not belong together.
    """
    source = config.source
    if not isinstance(source, TabularSource):
        source = TabularSource(path=interactions)
    source = dataclasses.replace(
        source,
        path=interactions,
        items_path="",
        users_path="",
        title="",
        item_features={},
        user_features={},
        context_features={},
    )
    with tempfile.TemporaryDirectory() as scratch:
        tables = sources.read(source, config.seed, Path(scratch))
        found = followed.run(
            log,
            tables.interactions,
            hours,
            k,
            UserIds.read(key, "KEY") if key else None,
        )
    directory = config.run_directory
    manifest.write_json(directory / followed.JSON, found.plain())
    write_page(
        directory / followed.PAGE,
        f"What came of what {config.name} showed",
        "Lists and places of which something was taken",
        followed.table(found),
        followed.lines(found),
    )
    return found


def write_page(
    path: Path,
    title: str,
    caption: str,
    rows: Sequence[Sequence[str]],
    lines: Sequence[str],
) -> None:
    """Writes a page of one table and what it does not have."""
    table = Table(caption, rows[0], rows[1:])
    section = Section("Figures", blocks=[table, Notes(lines)])
    text = markdown.write(Document(title, "open", "", (), (), [section]))
    with files.staged(path) as staged:
        staged.write_text(text, encoding="utf-8")
