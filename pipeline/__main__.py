"""The command line of the offline side: `python -m pipeline COMMAND`."""

import argparse
import contextlib
import math
import os
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from pipeline import exits, flags, releases, textfile
from pipeline.evaluate import evaluation
from pipeline.evaluate.evaluation import Evaluation
from pipeline.feedback import commands as feedback
from pipeline.run import config as configuration
from pipeline.run import workers
from pipeline.run.config import Config
from pipeline.steps import Manner, Run
from pipeline.tables.schema import DataError
from pipeline.terminal import console, report
from pipeline.terminal.console import Answer
from serving import ids

# What a shell calls all this once it completes it.
_SHELL_NAME = "pipeline"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit status: 0, 1 with a clear message, 3 where the gate rejected
        a release, 4 where the data were refused, 130 if interrupted.
    """
    options = _parser().parse_args(arguments)
    console.progress.detail = options.detail
    try:
        _command(options)
    except exits.EXPECTED as error:
        console.progress.close()
        for line in exits.lines(error):
            print(line, file=sys.stderr)
        return exits.of(error).status
    return 0


def _command(options: argparse.Namespace) -> None:
    if options.run in _WITHOUT_CONFIG:
        options.run(options)
        return
    config = configuration.load(options.config, options.set)
    console.quiet_native_logs(config.run_directory / "native.log")
    with textfile.written(config, options.command):
        options.run(config, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline")
    parser.add_argument(
        "--config",
        # Quotes of the Makefile keep a shell from doing it.
        type=os.path.expanduser,
        default=console.SAMPLE,
        metavar="FILE",
        help="a TOML file",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override one option; repeat for more",
    )
    console.add_options(parser)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (run, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text)
        command.set_defaults(run=run)
        of_steps = flags.OF_STEPS if run in (_step, _demo) else {}
        own = flags.ARGUMENTS.get(name, {})
        add = either = command.add_argument
        # An empty group has no usage to print: argparse fails.
        if own.keys() >= set(flags.EITHER):
            either = command.add_mutually_exclusive_group().add_argument
        for flag, settings in {**of_steps, **own}.items():
            (either if flag in flags.EITHER else add)(flag, **settings)
        if name == "recommend":
            ids.add_option(command, "--history", "latest last")
    return parser


def _step(config: Config, options: argparse.Namespace) -> None:
    together = workers.Workers()
    if options.command == "train-retrieval":
        together = workers.find(options.workers, options.worker)
    run = _run(config, options, together)
    if getattr(options, "shard", None) is not None:
        run.index_shard(*options.shard)
        return
    if getattr(options, "items", ""):
        releases.change_items(run, options)
        return
    if options.command in ("publish", "retrain"):
        releases.publish(run, options)
        return
    with run.lock if together.is_chief else contextlib.nullcontext():
        getattr(run, options.command.replace("-", "_"))()
    if options.command == "prepare":
        prepared = run.prepared()
        _say(options, console.summary(prepared), prepared.summary)
    if options.command == "evaluate":
        found = Evaluation.read(run.evaluation)
        _say(options, report.table(found), evaluation.plain(found))


def _run(
    config: Config,
    options: argparse.Namespace,
    together: workers.Workers | None = None,
) -> Run:
    """The run of a command that makes its steps."""
    wait_seconds = math.inf if options.wait else 0.0
    asked = options.force, options.warm, wait_seconds, options.accept_data
    return Run(config, Manner(*asked), console.progress, together)


def _options(options: argparse.Namespace) -> None:
    from pipeline.run import options as described

    text = "\n".join(described.describe(options.section)).strip()
    _say(options, text, described.document(options.section))


def _draft(options: argparse.Namespace) -> None:
    from pipeline.onboard import draft

    drafted = draft.init_config(
        options.interactions, options.items, options.users, console.progress
    )
    _say(
        options,
        drafted.text.rstrip("\n"),
        {"config": drafted.text, "doubts": list(drafted.doubts)},
    )
    for doubt in drafted.doubts:
        print(f"doubt: {doubt}", file=sys.stderr)
    if drafted.problem:
        raise DataError(drafted.problem)


def _generate(options: argparse.Namespace) -> None:
    from pipeline.bench import generate

    directory = generate.write(
        options.directory, options.interactions, options.seed
    )
    said = f"generate: {options.interactions:,} interactions in {directory}"
    _say(options, said, {"directory": str(directory)})


def _spark_up(options: argparse.Namespace) -> None:
    from pipeline.prepare import spark_cluster

    with (
        tempfile.TemporaryDirectory() as directory,
        spark_cluster.run(Path(directory), port=options.port) as master,
    ):
        said = f"spark-up: prepare.engine={master}"
        data = {"prepare.engine": master}
        _say(options, f"{said}\nspark-up: Ctrl-C stops it", data)
        threading.Event().wait()


def _bench_scale(options: argparse.Namespace) -> None:
    from pipeline.bench import scale as bench_scale

    sizes = options.interactions or bench_scale.SIZES
    report = bench_scale.run(
        options.directory, sizes, options.price, console.progress
    )
    title = f"a whole run by size, {options.price:g} a core hour; ~ is on paper"
    rows = bench_scale.table(report)
    assumed = (f"~ {line}" for line in report.assumptions)
    text = console.text(console.table(title, rows), *assumed)
    picture = bench_scale.plot(options.directory / bench_scale.FILE)
    data = {"table": rows, "assumptions": report.assumptions}
    _say(options, f"{text}\n{picture}", data | {"picture": str(picture)})


def _check(config: Config, options: argparse.Namespace) -> None:
    from pipeline.onboard import check

    lines = check.check(config)
    mark = "warning: "
    warnings = [line for line in lines if line.startswith(mark)]
    data = {
        "findings": [line for line in lines if not line.startswith(mark)],
        "warnings": [line.removeprefix(mark) for line in warnings],
    }
    _say(options, "\n".join(lines), data)


def _ablation(config: Config, options: argparse.Namespace) -> None:
    from pipeline.bench import ablation

    rows = ablation.run(
        config,
        Run(config, progress=console.progress).prepared(),
        options.seeds,
        options.only,
        console.progress,
    )
    title = f"validation {ablation.METRIC}"
    text = console.text(console.table(title, rows))
    _say(options, text, {"metric": ablation.METRIC, "table": rows})


def _ondevice_android(config: Config, options: argparse.Namespace) -> None:
    from pipeline.ondevice import android

    android.output(options.output)
    run = Run(config, progress=console.progress)
    prepared, distilled = run.prepared(), run.distill()
    size = android.run(
        config, prepared, distilled, options.output, options.genres
    )
    said = f"android: assets in {options.output}, model of {size:,} bytes"
    _say(options, said, {"directory": str(options.output), "bytes": size})


def _bench_ondevice(config: Config, options: argparse.Namespace) -> None:
    from pipeline.bench import ondevice

    run = Run(config, progress=console.progress)
    path = config.run_directory / ondevice.RESULT
    ondevice.run(config, run.prepared(), path, options.rounds, console.progress)
    _say(options, f"written to {path}", {"path": str(path)})


def _recommend(config: Config, options: argparse.Namespace) -> None:
    from pipeline.release import kept
    from pipeline.tables import prepared as tables
    from pipeline.terminal import filtered, showcase

    live = kept.live_tables(config)
    prepared = (
        tables.load(live)
        if live
        else Run(config, progress=console.progress).prepared()
    )
    answer = showcase.recommend(
        prepared,
        options.target,
        options.user,
        ids.written(options.history, "--history"),
        showcase.Live.read(config.serving_directory, config.name),
        filtered.read(prepared, options.filter),
    )
    _say(options, *answer)


def _explore(config: Config, options: argparse.Namespace) -> None:
    from pipeline.explore import step as explore

    if options.projector:
        directory = explore.project(config)
        said = f"explore: tensorboard --logdir {directory}"
        _say(options, said, {"directory": str(directory)})
        return
    addresses = explore.Addresses(options.port, options.target, options.rest)
    with (
        contextlib.suppress(KeyboardInterrupt),
        explore.start(config, addresses, console.progress) as site,
    ):
        said = f"explore: {site.url} (Ctrl-C ends it)"
        _say(options, said, {"url": site.url})
        site.serve_forever()


def _demo(config: Config, options: argparse.Namespace) -> None:
    releases.publish(_run(config, options), options)


def _completion(options: argparse.Namespace) -> None:
    """Prints a function `pipeline` and what completes it.

    Shells complete by a command's first word, and `python` is not ours.
    """
    import shtab

    parser = _parser()
    parser.prog = _SHELL_NAME
    completed = shtab.complete(parser, options.shell).rstrip("\n")
    if options.shell == "zsh":
        # What shtab appends at every completion must stand there once.
        completed += f"\ntypeset -gU _shtab_{_SHELL_NAME}_options"
    run = f"{shlex.quote(sys.executable)} -m pipeline"
    text = f'{completed}\n{_SHELL_NAME}() {{ {run} "$@"; }}'
    _say(options, text, {"shell": options.shell, "script": text})


def _say(options: argparse.Namespace, text: str, data: object) -> None:
    console.say(Answer(text, data), options.json)


_WITHOUT_CONFIG = (
    *(_options, _draft, _generate, _spark_up, _bench_scale, _completion),
)
_COMMANDS = {
    "prepare": (_step, "read the source, split it by time, encode it"),
    "check-data": (_step, "hold the data against the live version's"),
    "train-retrieval": (_step, "train the two-tower model"),
    "index": (_step, "embed the catalogue and build its index"),
    "train-ranking": (
        _step,
        "train the model that rescores what was retrieved",
    ),
    "distill": (
        _step,
        "train the on-device student on what both stages answer",
    ),
    "export": (_step, "write the SavedModels"),
    "ondevice-export": (_step, "write the student as .tflite bundles"),
    "evaluate": (_step, "measure the exported models against baselines"),
    "publish": (_step, "release the bundle if the gate accepts it"),
    "retrain": (_step, "all of the above, in order"),
    "status": (
        releases.show_status,
        "show what is up to date, what would run and why",
    ),
    "canary": (
        releases.try_canary,
        "let a share of users ask the staged version",
    ),
    "promote": (releases.promote, "let everybody ask the canary: it is live"),
    "rollback": (
        releases.rollback,
        "end the trial, or return to the last release",
    ),
    "releases": (
        releases.show_releases,
        "show what is live, canary, previous and staged, and why",
    ),
    "prune": (releases.prune, "remove old versions, never one in use"),
    "outcomes": (feedback.outcomes, "tell what was taken of what was shown"),
    "replay": (feedback.replay, "ask two versions what callers have asked"),
    "report": (releases.write_report, "write a run's report again"),
    "options": (_options, "show all options, their defaults and meanings"),
    "init-config": (_draft, "write a config from the files of a log"),
    "check": (_check, "report on a config's data"),
    "generate": (_generate, "write a log of any size"),
    "spark-up": (
        _spark_up,
        "run a Spark master and two workers until interrupted",
    ),
    "bench-scale": (_bench_scale, "measure speed, memory and cost by size"),
    "ondevice-android": (
        _ondevice_android,
        "write assets for TensorFlow's Android sample",
    ),
    "bench-ondevice": (
        _bench_ondevice,
        "measure the student against the toolkit's",
    ),
    "ablation": (_ablation, "measure what each choice is worth"),
    "recommend": (_recommend, "ask a running server"),
    "explore": (_explore, "open a page that asks every model side by side"),
    "demo": (_demo, "everything, end to end"),
    "completion": (_completion, "print what completes these in a shell"),
}
if __name__ == "__main__":
    # `timeout`, systemd and Kubernetes end a run so: it ends as by Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
