"""What is up to date, what would run and why, what is live: nothing is made.

Enters: a run's directory, its config and sources as they are now, the
published folder. Leaves: an answer for people or programs. Loads no TensorFlow.
"""

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from pipeline import needs
from pipeline.export import bundle
from pipeline.release import overview
from pipeline.run import manifest
from pipeline.run.config import Config
from pipeline.run.manifest import Inputs
from pipeline.tables.schema import DataError
from pipeline.terminal import console
from pipeline.terminal.console import Answer
from serving.releases import history

# Of code files, in one reason.
_MOST_NAMED = 3


@dataclass(frozen=True)
class Step:
    """One step as it stands.

    Attributes:
        name: The step.
        why: Reasons to run it, none when it is up to date.
        finished: When it was made, in UTC; "" if it never was.
        seconds: How long that took.
        peak_bytes: The most memory in use meanwhile.
    """

    name: str
    why: tuple[str, ...]
    finished: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0


def steps(config: Config) -> list[Step]:
    """Every step of a run, in order."""
    found: dict[str, Step] = {}
    for name, after in needs.AFTER.items():
        would = [step for step in after if found[step].why]
        made = manifest.Record.read(config.run_directory / name)
        if made is None:
            found[name] = Step(name, ("it was not made yet",))
            continue
        found[name] = Step(
            name,
            (
                *_reasons(config, name, made.inputs),
                *(f"{step} would run" for step in would),
            ),
            _moment(made.made_at),
            made.seconds,
            made.peak_bytes,
        )
    return list(found.values())


def answer(config: Config) -> Answer:
    """The status of a run and of what is released."""
    found = steps(config)
    rows = [("step", "state", "finished (UTC)", "seconds", "MiB")]
    rows += [
        (
            step.name,
            "would run" if step.why else "up to date",
            step.finished,
            f"{step.seconds:,.1f}" if step.finished else "",
            f"{step.peak_bytes / 2**20:,.0f}" if step.peak_bytes else "",
        )
        for step in found
    ]
    reasons = [
        f"{step.name}: {'; '.join(step.why)}" for step in found if step.why
    ]
    state = history.state(config.serving_directory)
    lines = [*(reasons or ["nothing would run"]), overview.short(state)]
    facts = bundle.live_manifest(config.serving_directory) or {}
    if items := facts.get(bundle.ITEMS, ""):
        lines.append(
            f"version {state.live} has other items than it was trained with: "
            f"{items} (make index ITEMS=...)"
        )
    title = f"run {config.name}"
    return Answer(
        console.text(console.table(title, rows), *lines).rstrip("\n"),
        {
            "run": config.name,
            "steps": [asdict(step) for step in found],
            "released": asdict(state),
            "items": items,
        },
    )


def _reasons(config: Config, name: str, made_from: Inputs) -> Iterator[str]:
    try:
        now = manifest.plain(needs.inputs(config, name))
    except DataError as error:
        yield str(error)
        return
    changed = {
        key: (before, after)
        for key in {**made_from, **now}
        if (before := made_from.get(key)) != (after := now.get(key))
    }
    code = changed.pop("code", None)
    for key, (before, after) in changed.items():
        yield from _sentences(key, before, after)
    if code:
        names = _differing(*code)
        more = len(names) - _MOST_NAMED
        yield "code changed: " + ", ".join(
            (*names[:_MOST_NAMED], *([f"{more} more"] if more > 0 else []))
        )


def _sentences(key: str, before: object, after: object) -> Iterator[str]:
    """What changed under one key of a step's inputs."""
    if key == "live":
        yield "another version is live than it was compared with"
        return
    for name in _differing(before, after):
        was, found = (_at(value, name) for value in (before, after))
        if key == "files":
            now = "another" if found else "missing"
            yield f"{name} is {'new' if was is None else now}"
        elif key == "after":
            yield f"{name} was made again"
        else:
            path = name if key == "libraries" else f"{key}.{name}".strip(".")
            yield f"{path} is {_shown(found)}, was {_shown(was)}"


def _differing(before: object, after: object) -> list[str]:
    """Names under which two values differ; "" for the values themselves."""
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return [""]
    return [
        name
        for name in sorted({**before, **after})
        if before.get(name) != after.get(name)
    ]


def _at(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, Mapping) else value


def _shown(value: object) -> str:
    return "absent" if value is None else repr(value)


def _moment(made_at: int) -> str:
    moment = datetime.datetime.fromtimestamp(made_at // 10**9, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M")
