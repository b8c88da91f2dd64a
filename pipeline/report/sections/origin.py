"""What the run was made from: options, choices, steps, versions, command."""

from __future__ import annotations

import datetime
import shlex

from pipeline.report.document import Code, Section, Table
from pipeline.report.found import Run


def origin(run: Run) -> Section:
    """How to make this run again."""
    chosen = Table(
        "What the config left to the data",
        ("option", "chosen", "because of"),
        [
            (str(made["option"]), str(made["value"]), str(made["why"]))
            for record in run.records.values()
            for made in record.choices
        ],
        num_texts=3,
    )
    settings = Table(
        "Baselines, set on the validation part",
        ("baseline", "settings"),
        [
            (name, ", ".join(f"{key} {value}" for key, value in found.items()))
            for name, found in (
                run.evaluation.baselines if run.evaluation else {}
            ).items()
            if found
        ],
        num_texts=2,
    )
    command = f"make retrain CONFIG={shlex.quote(str(run.origin))}"
    if run.overrides:
        command += f" SET={shlex.quote(' '.join(run.overrides))}"
    written = run.origin.read_text("utf-8") if run.origin.exists() else ""
    return Section(
        "Origin",
        "The command repeats the run; the same seed, data and versions give "
        "the same figures.",
        [
            Code(command, "sh"),
            Code(written.strip(), "toml"),
            chosen,
            settings,
            *_made(run),
        ],
    )


def _made(run: Run) -> list[Table]:
    """What the steps took, of which libraries, on which machine."""
    steps = Table(
        "Steps",
        ("step", "finished (UTC)", "seconds", "most memory, MiB"),
        [
            (
                step,
                finished(record.made_at),
                f"{record.seconds:,.1f}",
                f"{record.peak_bytes / 2**20:,.0f}" * bool(record.peak_bytes),
            )
            for step, record in run.records.items()
        ],
        num_texts=2,
    )
    libraries: dict[str, object] = {}
    for record in run.records.values():
        found = record.inputs.get("libraries")
        libraries |= found if isinstance(found, dict) else {}
    *_, last = ({}, *(record.machine for record in run.records.values()))
    versions = Table(
        "Libraries behind the figures",
        ("library", "version"),
        [(name, str(found)) for name, found in sorted(libraries.items())],
        num_texts=2,
    )
    machines = Table(
        "Machine of the last step",
        ("", "value"),
        [(name, str(found)) for name, found in last.items()],
        num_texts=2,
    )
    return [steps, versions, machines]


def finished(made_at: int) -> str:
    """A time of nanoseconds as people read it."""
    moment = datetime.datetime.fromtimestamp(made_at // 10**9, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M")
