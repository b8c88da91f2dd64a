"""The commands that read what servers logged.

Enters: the parsed command line. Leaves: text, or with --json one document.
"""

import argparse

from pipeline.run.config import Config
from pipeline.terminal import console
from pipeline.terminal.console import Answer


def replay(config: Config, options: argparse.Namespace) -> None:
    """Asks two versions the logged requests and compares their answers."""
    # Others need none of the server's runtime.
    from pipeline.feedback import replay as replays
    from pipeline.feedback import step
    from pipeline.feedback.log import Log

    log = Log(options.log)
    found, _ = step.replay(
        config, log, options.live, options.new, options.requests
    )
    title = f"{found.new} beside {found.live}"
    lines = replays.lines(found, log)
    page = config.run_directory / replays.PAGE
    text = console.text(
        console.table(title, replays.table(found)), *lines, f"page: {page}"
    )
    console.say(Answer(text.rstrip("\n"), found.plain()), options.json)


def outcomes(config: Config, options: argparse.Namespace) -> None:
    """Joins what was shown with what was then taken."""
    from pipeline.feedback import outcomes as followed
    from pipeline.feedback import step
    from pipeline.feedback.log import Log

    found = step.outcomes(
        config,
        Log(options.log),
        options.interactions,
        options.hours,
        options.k,
        options.key,
    )
    page = config.run_directory / followed.PAGE
    text = console.text(
        console.table("what was shown, and taken", followed.table(found)),
        *followed.lines(found),
        f"page: {page}",
    )
    console.say(Answer(text.rstrip("\n"), found.plain()), options.json)
