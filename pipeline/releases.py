"""Commands that release a version or say what is released, and their answers.

Enters: the parsed command line. Leaves: text, or with --json one document.
"""

import argparse
from pathlib import Path

from pipeline.evaluate import evaluation
from pipeline.evaluate.evaluation import Evaluation
from pipeline.release import decision, kept, trial
from pipeline.release.gate import GateRejected
from pipeline.run import rules
from pipeline.run.config import Config
from pipeline.run.rules import Rule
from pipeline.steps import Run
from pipeline.terminal import console, report
from pipeline.terminal.console import Answer
from serving import embedded
from serving.releases import history
from serving.releases.history import POINTER


def publish(run: Run, options: argparse.Namespace) -> None:
    """Publishes, and shows what a release or a refusal rests on.

    Raises:
        GateRejected: If a rule of the gate is broken; all is shown before.
    """
    with run.lock:
        _publish(run, options)


def _publish(run: Run, options: argparse.Namespace) -> None:
    is_demo = options.command == "demo"
    refused = None
    users = Answer("", [])
    try:
        run.publish(_replayed(run, getattr(options, "replay", "")))
        trial.begin(run.config, console.progress)
    except GateRejected as error:
        refused = error
    reasons = refused.reasons if refused else ()
    found = Evaluation.read(run.evaluation)
    if is_demo and not refused:
        page, users = _shown(run, options)
    else:
        page = _page(run.config, options)
    lines = [users.text] if users.text else []
    lines += [report.short(found, reasons) if is_demo else report.table(found)]
    lines += decision.lines(run.config.run_directory)
    lines += [f"report: {page}"]
    if not refused:
        lines += [
            "",
            console.next_commands(run.prepared(), options.config, options.set),
        ]
    data = {
        "accepted": not refused,
        "reasons": list(reasons),
        "decision": decision.read(run.config.run_directory),
        "verdict": report.verdict(found, reasons),
        "report": str(page),
        "evaluation": evaluation.plain(found),
    }
    if is_demo:
        data["users"] = users.data
    console.say(Answer("\n".join(lines), data), options.json)
    if refused:
        raise refused


def change_items(run: Run, options: argparse.Namespace) -> None:
    """Gives the live version other items, and says what changed."""
    from pipeline.items.step import Update

    with run.lock:
        update = Update(run.config, options.force, console.progress)
        found = update.run(options.items, options.accept_data)
        if found.is_new:
            trial.begin(run.config, console.progress)
    lines = []
    if found.is_new:
        lines = decision.lines(run.config.run_directory / kept.ITEMS)
        role = history.state(run.config.serving_directory).role(found.version)
        said = f"items: version {found.version} has {found.changes} and is "
        said += "staged: make canary" if role == "staged" else role
    elif found.changes:
        said = f"items: nothing was published, version {found.version} stays"
    else:
        said = "items: nothing changed, so nothing was published; version "
        said += f"{found.version} has these items"
    data = {
        "version": found.version,
        "published": found.is_new,
        **{
            name: list(getattr(found.changes, name))
            for name in ("added", "gone", "changed")
        },
    }
    console.say(Answer("\n".join([*lines, said]), data), options.json)


def _shown(run: Run, options: argparse.Namespace) -> tuple[Path, Answer]:
    """Writes the report while a server starts, then asks that server."""
    from pipeline.terminal import showcase

    pointer = run.config.serving_directory / POINTER
    log = run.config.run_directory / "server.log"
    with embedded.running(pointer, log=log) as server:
        page = _page(run.config, options)
        server.wait(server.is_open, "what was published")
        console.progress(
            f"serve: gRPC on {server.target}, asking for three users"
        )
        return page, showcase.demo(run.prepared(), server.target)


def _replayed(run: Run, log: str) -> list[Rule]:
    """What a log of requests says of the run's exports."""
    if not log:
        return []
    from pipeline.feedback import step as feedback

    run.export()
    return feedback.at_the_gate(run.config, log)


def write_report(config: Config, options: argparse.Namespace) -> None:
    """Writes the report of a run again."""
    page = _page(config, options)
    answer = Answer(f"report: {page}", {"report": str(page)})
    console.say(answer, options.json)


def show_status(config: Config, options: argparse.Namespace) -> None:
    """Says what is up to date, what would run and why, what is live."""
    from pipeline import status

    console.say(status.answer(config), options.json)


def _page(config: Config, options: argparse.Namespace) -> Path:
    from pipeline.report import step as page

    return page.run(config, Path(options.config), tuple(options.set))


def rollback(config: Config, options: argparse.Namespace) -> None:
    """Returns to an earlier release."""
    from pipeline.release import publish

    before, after = publish.rollback(config, options.to, options.why)
    said = f"rollback: version {after} answers everybody again, {before} nobody"
    console.say(Answer(said, {"live": after, "before": before}), options.json)


def try_canary(config: Config, options: argparse.Namespace) -> None:
    """Lets a share of users ask the staged version.

    Raises:
        GateRejected: If a logged request speaks against it, among others.
    """
    if options.replay and (staged := _staged(config)):
        from pipeline.feedback import step as feedback

        judged = feedback.at_the_gate(config, options.replay, str(staged))
        if reasons := rules.broken(judged):
            raise GateRejected(*reasons)
    share = options.share
    version, live = trial.canary(config, share, options.why, console.progress)
    said = (
        f"canary: {share} percent of users ask version {version}, all others "
        f"{live}; then make promote, or make rollback"
    )
    data = {"live": live, "canary": version, "share": share}
    console.say(Answer(said, data), options.json)


def _staged(config: Config) -> int | None:
    """What a canary would be of."""
    state = history.state(config.serving_directory)
    return state.canary or state.staged


def promote(config: Config, options: argparse.Namespace) -> None:
    """Makes the canary the live version, or asks Prometheus whether to."""
    if options.if_healthy:
        from pipeline.release import health

        found = health.promote(config, options.if_healthy, options.why)
        who = f"version {found.version}" if found.version else "nothing"
        verb = "is" if found.is_live or not found.version else "is not"
        said = f"promote: {who} {verb} promoted, {found.why}"
        answer = Answer(said, found._asdict())
        console.say(answer, options.json)
        return
    before, after = trial.promote(config, options.why)
    said = f"promote: version {after} is live, {before} is what rollback finds"
    console.say(Answer(said, {"live": after, "before": before}), options.json)


def prune(config: Config, options: argparse.Namespace) -> None:
    """Removes old versions."""
    gone = trial.prune(config, options.keep)
    said = f"removed versions {', '.join(map(str, gone))}" if gone else "none"
    console.say(Answer(f"prune: {said}", {"removed": gone}), options.json)


def show_releases(config: Config, options: argparse.Namespace) -> None:
    """Says what is live, on trial, previous and staged, since when and why."""
    from pipeline.release import overview

    console.say(overview.answer(config.serving_directory), options.json)
