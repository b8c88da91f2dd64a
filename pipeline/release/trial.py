"""A version on trial: the canary, its promotion, what is kept of the others.

A staged version is loaded beside the live one and a share of users asks it, by
the labels of `serving.labels`. Every command replaces the pointer alone.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from models.config import at_most
from pipeline.release import repository
from pipeline.release.gate import GateRejected
from pipeline.run.config import Config
from serving import labels
from serving.releases import history as release_history
from serving.releases import ledger
from serving.releases.history import POINTER, State

# Callers look for labels every five seconds and servers for the pointer every
# second: by then nobody asks for the latest version any more.
TOLD_SECONDS = 10.0
_STAGE = 'Set publish.stage=true and "make retrain".'


def canary(
    config: Config,
    share: int,
    why: str = "",
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[int, int]:
    """Lets a share of users ask the staged version, or gives it another one.

    Args:
        share: Percent of users, 1 to 100.
        why: For the ledger.
        progress: Receives a line when callers have to be told first.

    Returns:
        The version on trial and the live one.

    Raises:
        GateRejected: If nothing is staged, or it is not whole.
        ServingError: If the pointer cannot be replaced.
    """
    if not 1 <= share <= labels.BUCKETS:
        raise GateRejected(
            "A canary's share must be a percentage of users from 1 to "
            f"{labels.BUCKETS}. Received: {share}. Take 5, or end the trial: "
            "make rollback."
        )
    serving = config.serving_directory
    keep = config.publish.keep_previous_loaded
    with repository.writing(serving) as state:
        live = _live(serving, state)
        tried = state.staged if state.canary is None else state.canary
        if tried is None:
            raise GateRejected(
                "A canary needs a staged version. Received: none, version "
                f"{live} is live (from {serving / POINTER}). {_STAGE}"
            )
        repository.require_whole(serving, tried, _STAGE)
        advice = "What is accepted next goes live at once: make retrain."
        repository.require_whole(serving, live, advice)
        if state.canary is None:
            _tell_callers(serving, state, keep, progress)
            state = replace(state, canary=tried, staged=None)
        after = replace(state, share=share, is_labelled=True)
        repository.point(serving, after, keep)
        text = f"{share} percent of users" + (f": {why}" if why else "")
        repository.record(
            serving, ledger.Entry(ledger.CANARY, tried, text, share=share)
        )
        return tried, live


def begin(config: Config, progress: Callable[[str], None]) -> None:
    """Tries what is staged at once, as a percentage in `publish.stage` has it.

    While another version is on trial it waits for that to end.
    """
    share = config.publish.trial_percent
    state = release_history.state(config.serving_directory)
    if share and state.staged is not None and state.canary is None:
        version, _live_one = canary(config, share, progress=progress)
        progress(f"canary: {share} percent of users ask version {version}")


def _tell_callers(
    serving: Path, state: State, keep: bool, progress: Callable[[str], None]
) -> None:
    """Lets callers know `stable` before a higher version is loaded."""
    pointer = serving / POINTER
    if not state.is_labelled:
        repository.point(serving, replace(state, is_labelled=True), keep)
    left = pointer.stat().st_mtime + TOLD_SECONDS - time.time()
    if left > 0:
        left = min(left, TOLD_SECONDS)
        progress(f"canary: callers are told what is live, {left:.0f} s")
        time.sleep(left)


def promote(
    config: Config, why: str = "", trial_of: int | None = None
) -> tuple[int, int]:
    """Makes the version on trial the live one.

    Args:
        why: For the ledger.
        trial_of: The version that must be on trial, None for whichever is.

    Returns:
        The version that was live and the one that is now.

    Raises:
        GateRejected: If no version is on trial, or it is not whole.
        ServingError: If the pointer cannot be replaced.
    """
    serving, options = config.serving_directory, config.publish
    with repository.writing(serving) as state:
        live = _live(serving, state)
        repository.require_trial(state, trial_of)
        if state.canary is None:
            advice = _STAGE
            if state.staged is not None:
                advice = f"Version {state.staged} is staged: make canary."
            raise GateRejected(
                f"A promotion needs a canary. Received: none, version {live} "
                f"is live (from {serving / POINTER}). {advice}"
            )
        repository.require_whole(
            serving, state.canary, "Take it away: make rollback."
        )
        kept = (state.canary, *state.releases)[: at_most(options.keep_versions)]
        after = State(kept, staged=state.staged, is_labelled=True)
        repository.point(serving, after, options.keep_previous_loaded)
        text = f"promoted from canary at {state.share} percent of users"
        if why:
            text += f": {why}"
        repository.record(
            serving, ledger.Entry(ledger.LIVE, state.canary, text)
        )
        return live, state.canary


def _live(serving: Path, state: State) -> int:
    if state.live is None:
        raise GateRejected(
            "A trial needs a live version beside it. Received: none (from "
            f"{serving / POINTER}). Publish one first: make retrain."
        )
    return state.live


def prune(config: Config, keep: int) -> list[int]:
    """Removes all but the newest versions, and never one that has a role.

    Args:
        keep: How many of the newest stay; the live version, the canary, the
            previous and the staged one stay besides.

    Returns:
        What was removed.

    Raises:
        ServingError: If the pointer cannot be replaced.
    """
    if keep < 1:
        raise GateRejected(
            "At least 1 version must be kept: nothing that is live, on trial, "
            f"previous or staged is ever removed. Received: KEEP={keep}."
        )
    serving = config.serving_directory
    with repository.writing(serving) as state:
        found = repository.numbers(serving)
        if found and state.live is None:
            raise GateRejected(
                "Pruning needs a pointer that says what is live. Received: "
                f"none (from {serving / POINTER}), while versions "
                f"{', '.join(map(str, found))} are there, and servers may hold "
                "any of them. Restore the file, or make retrain."
            )
        gone = [n for n in found[keep:] if not state.role(n)]
        kept = tuple(n for n in state.releases if n not in gone)
        if kept != state.releases:
            repository.point(
                serving,
                replace(state, releases=kept),
                config.publish.keep_previous_loaded,
            )
        for number in gone:
            repository.remove(serving, number, f"the newest {keep} are kept")
        return gone
