"""The command line of the offline side: `python -m pipeline COMMAND`."""

import argparse
import contextlib
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from models.config import ConfigError
from pipeline import flags
from pipeline.release.gate import GateRejected
from pipeline.run import config as configuration
from pipeline.run import workers
from pipeline.run.config import Config
from pipeline.steps import Run
from pipeline.tables.schema import DataError
from pipeline.terminal import console
from serving import ids
from serving.errors import ServingError

_DEFAULT_CONFIG = "pipeline/configs/sample.toml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status is 0, or 1 with a clear message."""
    options = _parser().parse_args(arguments)
    console.progress.detail = options.detail
    try:
        if options.run in _WITHOUT_CONFIG:
            options.run(options)
            return 0
        config = configuration.load(options.config, options.set)
        console.quiet_native_logs(config.run_directory / "native.log")
        options.run(config, options)
    except ConfigError as error:
        for problem in error.problems:
            _complain("config", problem)
    except GateRejected as error:
        for reason in error.reasons:
            _complain("rejected", reason)
    except DataError as error:
        _complain("data", str(error))
    except ServingError as error:
        _complain("serving", str(error))
    except OSError as error:
        # A full or read-only disk: what was being written is not kept.
        _complain("files", f"{error}. Finished steps are kept; run it again.")
    except KeyboardInterrupt:
        _complain("interrupted", "Finished steps are kept; run it again.")
    else:
        return 0
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline")
    parser.add_argument(
        "--config", default=_DEFAULT_CONFIG, metavar="FILE", help="a TOML file"
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
        if run in (_step, _demo):
            text = "run steps that are up to date as well"
            command.add_argument("--force", action="store_true", help=text)
        for flag, settings in flags.ARGUMENTS.get(name, {}).items():
            command.add_argument(flag, **settings)
        if name == "recommend":
            ids.add_option(command, "--history", "latest last")
    return parser


def _step(config: Config, options: argparse.Namespace) -> None:
    together = workers.Workers()
    if options.command == "train-retrieval":
        together = workers.find(options.workers, options.worker)
    run = Run(config, options.force, console.progress, together)
    if getattr(options, "shard", None) is not None:
        run.index_shard(*options.shard)
        return
    name = "publish" if options.command == "retrain" else options.command
    if name == "publish":
        with _figures(run, options):
            run.publish()
        return
    getattr(run, name.replace("-", "_"))()
    if name == "prepare":
        print(console.summary(run.prepared()))
    if name == "evaluate":
        _show(run)


@contextlib.contextmanager
def _figures(run: Run, options: argparse.Namespace) -> Iterator[None]:
    """Shows the evaluation behind a release, and behind a refused one."""
    try:
        yield
    except GateRejected:
        _show(run)
        _report(run.config, options)
        raise
    _show(run)
    _report(run.config, options)


def _show(run: Run) -> None:
    from pipeline.evaluate.evaluation import Evaluation
    from pipeline.terminal import report

    print(report.table(Evaluation.read(run.evaluation)))


def _report(config: Config, options: argparse.Namespace) -> None:
    from pipeline.report import step as report

    page = report.run(config, Path(options.config), tuple(options.set))
    print(f"report: {page}")


def _options(options: argparse.Namespace) -> None:
    from pipeline.run import options as described

    print("\n".join(described.describe(options.section)).strip())


def _rollback(config: Config, options: argparse.Namespace) -> None:
    from pipeline.release import publish

    before, after = publish.rollback(config, options.to)
    print(f"rollback: version {after} is live again, {before} is not")


def _draft(options: argparse.Namespace) -> None:
    from pipeline.onboard import draft

    drafted = draft.init_config(
        options.interactions, options.items, options.users, console.progress
    )
    print(drafted.text, end="")
    for doubt in drafted.doubts:
        _complain("doubt", doubt)
    if drafted.problem:
        raise DataError(drafted.problem)


def _generate(options: argparse.Namespace) -> None:
    from pipeline.bench import generate

    directory = generate.write(
        options.directory, options.interactions, options.seed
    )
    print(f"generate: {options.interactions:,} interactions in {directory}")


def _spark_up(options: argparse.Namespace) -> None:
    from pipeline.prepare import spark_cluster

    with (
        tempfile.TemporaryDirectory() as directory,
        spark_cluster.run(Path(directory), port=options.port) as master,
    ):
        print(f"spark-up: prepare.engine=spark prepare.spark_master={master}")
        print("spark-up: Ctrl-C stops it", flush=True)
        threading.Event().wait()


def _bench_scale(options: argparse.Namespace) -> None:
    from pipeline.bench import scale as bench_scale

    sizes = options.interactions or bench_scale.SIZES
    report = bench_scale.run(
        options.directory, sizes, options.price, console.progress
    )
    title = f"a whole run by size, {options.price:g} a core hour; ~ is on paper"
    table = console.table(title, bench_scale.table(report))
    print(console.text(table, *(f"~ {line}" for line in report.assumptions)))
    print(bench_scale.plot(options.directory / bench_scale.FILE))


def _check(config: Config, options: argparse.Namespace) -> None:
    from pipeline.onboard import check

    print("\n".join(check.check(config)))


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
    print(console.text(console.table(title, rows)))


def _ondevice_android(config: Config, options: argparse.Namespace) -> None:
    from pipeline.ondevice import android

    run = Run(config, progress=console.progress)
    prepared, distilled = run.prepared(), run.distill()
    size = android.run(
        config, prepared, distilled, options.output, options.genres
    )
    print(f"android: assets in {options.output}, model of {size:,} bytes")


def _bench_ondevice(config: Config, options: argparse.Namespace) -> None:
    from pipeline.bench import ondevice

    run = Run(config, progress=console.progress)
    path = config.run_directory / ondevice.RESULT
    ondevice.run(config, run.prepared(), path, options.rounds, console.progress)
    print(f"written to {path}")


def _recommend(config: Config, options: argparse.Namespace) -> None:
    from pipeline.terminal import showcase

    run = Run(config, progress=console.progress)
    print(
        showcase.recommend(
            run.prepared(),
            options.target,
            options.user,
            ids.written(options.history, "--history"),
            showcase.Live.read(config.serving_directory, config.name),
        )
    )


def _explore(config: Config, options: argparse.Namespace) -> None:
    from pipeline.explore import step as explore

    if options.projector:
        directory = explore.project(config)
        print(f"explore: tensorboard --logdir {directory}")
        return
    addresses = explore.Addresses(options.port, options.target, options.rest)
    # The server of our own must not outlive this process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        contextlib.suppress(KeyboardInterrupt),
        explore.start(config, addresses, console.progress) as site,
    ):
        print(f"explore: {site.url} (Ctrl-C ends it)", flush=True)
        site.serve_forever()


def _demo(config: Config, options: argparse.Namespace) -> None:
    from pipeline.terminal import showcase

    run = Run(config, options.force, console.progress)
    with _figures(run, options):
        run.publish()
        print(
            showcase.demo(
                run.prepared(),
                config.serving_directory,
                config.run_directory / "server.log",
                console.progress,
            )
        )
    print(console.next_commands(run.prepared()))


def _complain(kind: str, message: str) -> None:
    print(f"{kind}: {message}", file=sys.stderr)


_WITHOUT_CONFIG = (_options, _draft, _generate, _spark_up, _bench_scale)
_COMMANDS = {
    "prepare": (_step, "read the source, split it by time, encode it"),
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
    "rollback": (_rollback, "return to the last release"),
    "report": (_report, "write a run's report again"),
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
}
if __name__ == "__main__":
    sys.exit(main())
