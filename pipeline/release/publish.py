"""The release of a version, and the way back.

A release copies the evaluated bundle to `.staging-<version>` beside each
model's versions, syncs it, renames it to the integer and, when all models
stand, replaces `models.config`, the one pointer that servers poll. A process
killed at any moment leaves the old pointer and complete versions only; one
that fails, as on a full disk, takes back what it had placed. Nothing live is
overwritten or deleted. Rollback replaces the pointer alone.
"""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from models.config import at_most
from pipeline.evaluate.evaluation import Evaluation, Student
from pipeline.export import bundle
from pipeline.release import decision, kept, repository
from pipeline.release import ondevice as ondevice_release
from pipeline.release.gate import GateRejected
from pipeline.run.config import Config
from pipeline.run.rules import Rule
from pipeline.warm import carried
from serving import signatures
from serving.errors import ServingError
from serving.releases import history as release_history
from serving.releases import ledger
from serving.releases.history import POINTER, State


@dataclass(frozen=True)
class Parcel:
    """What is to be released.

    Attributes:
        sources: Directory of each model, and of the student, by name.
        bundle_id: Of the models.
        results: Their evaluation; None where the student has one already.
        figures: For the ledger, by name.
        why: For the ledger; "" for a bundle that the gate accepted.
    """

    sources: dict[str, Path]
    bundle_id: str
    results: Evaluation | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    why: str = ""

    def entry(
        self, config: Config, event: str, version: int | None, why: str
    ) -> ledger.Entry:
        """An event of the ledger."""
        return ledger.Entry(
            event,
            version,
            why,
            bundle_id=self.bundle_id,
            run=config.name,
            figures=self.figures,
        )


def run(
    config: Config,
    exports: Path,
    evaluation: Path,
    ondevice: Path | None = None,
    replayed: Iterable[Rule] = (),
    again: bool = False,
) -> tuple[int, bool]:
    """Publishes an evaluated bundle if the gate accepts it.

    With `publish.stage`, or while another version is on trial, it is staged
    for one, unless nothing is live yet.

    Args:
        exports: Directory of the export step.
        evaluation: The evaluation.json made from exactly those exports.
        ondevice: Directory of the ondevice-export step; None releases the
            server models alone.
        replayed: What a log of requests said of the bundle.
        again: Whether a bundle that was withdrawn may come back.

    Returns:
        The version of this bundle, and whether it is new: one that is live,
        on trial or staged already, and whole, is left as it is, as is one
        that somebody took away.

    Raises:
        GateRejected: If a rule of the gate is broken.
        ServingError: If the release cannot be written; nothing of it stays.
    """
    results = Evaluation.read(evaluation)
    bundle_id = bundle.read_bundle_id(exports / signatures.BUNDLE[0])
    sources = {name: exports / name for name in signatures.BUNDLE}
    # There is training to go on from also where no student is released.
    if ondevice is not None and (beside := ondevice / carried.FOLDER).exists():
        sources[carried.FOLDER] = beside
    student = results.ondevice if ondevice is not None else None
    mixed = []
    if results.bundle_id != bundle_id:
        mixed.append(
            "The evaluation must be of the staged bundle. Received: "
            f"{results.bundle_id}, staged is {bundle_id}. Run evaluate again."
        )
    if ondevice is not None and student is not None:
        mixed += ondevice_release.obstacles(student, ondevice)
        sources[ondevice_release.NAME] = ondevice / student.precision
    belongs = [Rule.of("belongs together", False, words) for words in mixed]
    reasons = decision.decide(
        config, results, evaluation, exports, [*belongs, *replayed]
    )
    figures = _figures(config.publish.metric, results)
    parcel = Parcel(sources, bundle_id, results, figures)
    refuse(config, parcel, reasons)
    serving = config.serving_directory
    with repository.writing(serving) as state:
        known = _known(serving, state, bundle_id, student)
        if known is None and not again:
            if (gone := ledger.withdrawn(serving, bundle_id)) is not None:
                return gone, False
        version = _release(config, parcel, state) if known is None else known
    steps = {name: exports.parent / name for name in kept.STEPS}
    kept.keep(config, bundle_id, steps)
    return version, known is None


def update(config: Config, parcel: Parcel, live: int) -> tuple[int, bool]:
    """Releases a bundle that was judged against the live version.

    Args:
        config: Of the run.
        parcel: With what was changed of that version.
        live: The version.

    Returns:
        The version, and whether it is new: it may have been staged before.

    Raises:
        GateRejected: If another version is live by now, or one is on trial.
        ServingError: If the release cannot be written; nothing of it stays.
    """
    serving = config.serving_directory
    with repository.writing(serving) as state:
        require_live(serving, state, live)
        if state.staged is not None:
            staged = serving / signatures.RETRIEVAL / str(state.staged)
            if bundle.read_bundle_id(staged) == parcel.bundle_id:
                return state.staged, False
        return _release(config, parcel, state), True


def require_live(serving: Path, state: State, live: int) -> None:
    """Refuses to change a version that is not live alone.

    Raises:
        GateRejected: If `live` is not, or one is on trial.
    """
    if state.canary is not None:
        raise GateRejected(
            "Items may change while no version is on trial. Received: "
            f"version {state.canary} is the canary (from {serving / POINTER})."
            " End the trial first: make promote, or make rollback."
        )
    if state.live != live:
        raise GateRejected(
            "The version whose items change must stay live meanwhile. "
            f"Received: version {state.live}, was {live} (from "
            f"{serving / POINTER}). Run it again."
        )


def refuse(config: Config, parcel: Parcel, reasons: list[str]) -> None:
    """Tells the ledger, once a bundle; the refusal stands without it too.

    Raises:
        GateRejected: If there are any reasons.
    """
    if not reasons:
        return
    serving = config.serving_directory
    entry = parcel.entry(config, ledger.REJECTED, None, " ".join(reasons))
    with contextlib.suppress(ServingError), repository.writing(serving):
        told, _problems = ledger.read(serving)
        if not told or told[-1].bundle_id != parcel.bundle_id:
            repository.record(serving, entry)
    raise GateRejected(*reasons)


def _known(
    serving: Path, state: State, bundle_id: str, student: Student | None
) -> int | None:
    """The version with a role that is this bundle, whole.

    It may have other items by now.
    """
    # What is staged cannot be tried beside a live version that lost a part.
    staged = state.staged if _can_try(serving, state) else None
    for version in (state.live, state.canary, staged):
        if version is None or release_history.missing(serving, version):
            continue
        retrieval = serving / signatures.RETRIEVAL / str(version)
        beside = serving / ondevice_release.NAME / str(version)
        if bundle.read_origin(retrieval) == bundle_id and (
            student is None
            or student.bundle_id == ondevice_release.bundle_id(beside)
        ):
            return version
    return None


def _can_try(serving: Path, state: State) -> bool:
    """Whether a version can be tried beside what answers now."""
    return state.canary is not None or (
        state.live is not None
        and not release_history.missing(serving, state.live)
    )


def _release(config: Config, parcel: Parcel, state: State) -> int:
    """Places every model and moves the pointer; the new version."""
    serving, options = config.serving_directory, config.publish
    repository.sweep(serving, state)
    version = 1 + max(repository.numbers(serving), default=0)
    is_staged = state.canary is not None or bool(
        options.stage and _can_try(serving, state)
    )
    if is_staged:
        event, why = ledger.STAGED, "the gate accepted it"
        # Callers know the label before there is a higher version.
        after = replace(state, staged=version, is_labelled=True)
    else:
        event, why = ledger.LIVE, "published: the gate accepted it"
        kept = (version, *state.releases)[: at_most(options.keep_versions)]
        after = State(kept)
    with repository.taken_back(serving, version) as placed:
        for name, source in parcel.sources.items():
            target = serving / name / str(version)
            repository.place(source, target, parcel.results)
            placed.append(target)
        repository.point(serving, after, options.keep_previous_loaded)
    entry = parcel.entry(config, event, version, parcel.why or why)
    repository.record(serving, entry)
    if options.keep_versions != "all":
        for number in repository.numbers(serving):
            if number not in after.releases and not after.role(number):
                why = f"publish.keep_versions is {options.keep_versions}"
                repository.remove(serving, number, why)
    return version


def _figures(metric: str, results: Evaluation) -> dict[str, float]:
    return {
        f"{name} {metric}": round(row.figures[metric], 6)
        for name, row in results.models.items()
        if name in ("two_stage", "live") and metric in row.figures
    }


def rollback(
    config: Config,
    to: int | None = None,
    why: str = "",
    trial_of: int | None = None,
) -> tuple[int, int]:
    """Ends a trial, or points back to an earlier release.

    Args:
        to: Which release; None takes the version on trial away where there
            is one, else returns to the release before the live version.
        why: For the ledger.
        trial_of: The version whose trial it must be, None for any release.

    Returns:
        The version that answers no more and the one that does.

    Raises:
        GateRejected: If there is no such release, or it is not whole.
        ServingError: If the pointer cannot be replaced.
    """
    serving = config.serving_directory
    keep = config.publish.keep_previous_loaded
    with repository.writing(serving) as state:
        repository.require_trial(state, trial_of)
        if state.canary is not None and state.live is not None:
            if to is not None:
                raise GateRejected(
                    "A rollback to a release must come after the trial. "
                    f"Received: TO={to} while version {state.canary} is the "
                    "canary. Take it away first: make rollback."
                )
            after = replace(state, canary=None, share=0, is_labelled=True)
            repository.point(serving, after, keep)
            _tell(serving, ledger.WITHDRAWN, state.canary, why, state.live)
            return state.canary, state.live
        live, target = _target(serving, state, to)
        place = state.releases.index(target)
        after = State(state.releases[place:], staged=state.staged)
        repository.point(serving, after, keep)
        _tell(serving, ledger.WITHDRAWN, live, why, target)
        _tell(serving, ledger.LIVE, target, why, live)
        return live, target


def _tell(
    serving: Path, event: str, version: int, why: str, other: int
) -> None:
    did = f"withdrawn for {other}"
    if event == ledger.LIVE:
        did = f"rolled back from {other}"
    text = f"{did}: {why}" if why else did
    repository.record(serving, ledger.Entry(event, version, text))


def _target(serving: Path, state: State, to: int | None) -> tuple[int, int]:
    """The live version, and the one to return to."""
    earlier = state.releases[1:]
    if state.live is None or not earlier:
        live = f"version {state.live} is live" if state.live else "none"
        raise GateRejected(
            "A rollback needs an earlier release. Received: "
            f"{live} (from {serving / POINTER}). Publish a version "
            "first: make retrain."
        )
    target = earlier[0] if to is None else to
    if target not in earlier:
        raise GateRejected(
            "A rollback must name an earlier release. Received: "
            f"{target} (from the command line). Released before "
            f"version {state.live}: {', '.join(map(str, earlier))}."
        )
    advice = "No earlier release is whole: make retrain."
    for other in earlier:
        if not release_history.missing(serving, other):
            advice = f"Version {other} is whole: make rollback TO={other}."
            break
    repository.require_whole(serving, target, advice)
    return state.live, target
