"""The command line of the offline side: `python -m pipeline STEP`."""

import argparse
import contextlib
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from models.config import ConfigError
from pipeline.release import publish
from pipeline.release.gate import GateRejected
from pipeline.run import config as configuration
from pipeline.run import workers
from pipeline.run.config import Config
from pipeline.steps import Run
from pipeline.tables.schema import DataError
from pipeline.terminal import console
from serving import ids
from serving.errors import ServingError

_STEPS = {
    "prepare": "read the source, split it by time, encode it",
    "train-retrieval": "train the two-tower model",
    "index": "embed the catalogue and build its index",
    "train-ranking": "train the model that rescores what was retrieved",
    "distill": "train the on-device student on what both stages answer",
    "export": "write the SavedModels",
    "ondevice-export": "write the student as .tflite bundles",
    "evaluate": "measure the exported models against baselines",
    "publish": "release the bundle if the gate accepts it",
    "retrain": "all of the above, in order",
}
_DEFAULT_CONFIG = "pipeline/configs/sample.toml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status is 0, or 1 with a clear message."""
    options = _parser().parse_args(arguments)
    try:
        if options.command in _WITHOUT_CONFIG:
            _WITHOUT_CONFIG[options.command](options)
            return 0
        config = configuration.load(options.config, options.set)
        console.quiet_native_logs(config.run_directory / "native.log")
        options.handler(config, options)
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
    parser.add_argument("--config", default=_DEFAULT_CONFIG, metavar="FILE")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override one option; repeat for more",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in _STEPS.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("--force", action="store_true")
        command.set_defaults(handler=_step, workers="", worker=None)
        if name == "index":
            command.add_argument(
                "--shard",
                type=_shard,
                metavar="I/N",
                help="only slice I of N, counted from 0; `index` merges them",
            )
        if name == "train-retrieval":
            command.add_argument(
                "--workers",
                default="",
                metavar="HOST:PORT,...",
                help="processes that train together; TF_CONFIG says the same",
            )
            command.add_argument(
                "--worker",
                type=int,
                metavar="I",
                help="which of them this one is, from 0, the chief",
            )
    back = commands.add_parser("rollback", help="return to the last release")
    back.add_argument(
        "--to",
        type=_count,
        metavar="VERSION",
        help="which release; the one before the live version if not given",
    )
    back.set_defaults(handler=_rollback)
    start = commands.add_parser(
        "init-config", help="write a config from the files of a log"
    )
    for name in ("interactions", "items", "users"):
        required = name == "interactions"
        start.add_argument(f"--{name}", required=required, default="")
    made = commands.add_parser("generate", help="write a log of any size")
    made.add_argument("--interactions", type=_count, required=True)
    made.add_argument("--directory", type=Path, required=True)
    made.add_argument("--seed", type=int, default=0)
    cluster = commands.add_parser(
        "spark-up", help="run a Spark master and two workers until interrupted"
    )
    cluster.add_argument("--port", type=int, default=7077)
    scale = commands.add_parser(
        "bench-scale", help="measure speed, memory and cost by size"
    )
    scale.add_argument("--interactions", type=_count, nargs="*", default=None)
    scale.add_argument("--directory", type=Path, default="artifacts/bench")
    scale.add_argument("--price", type=float, default=0.05, metavar="PER_HOUR")
    page = commands.add_parser("report", help="write a run's report again")
    page.set_defaults(handler=_report)
    look = commands.add_parser("check", help="report on a config's data")
    look.add_argument(
        "config", nargs="?", default=argparse.SUPPRESS, metavar="CONFIG"
    )
    look.set_defaults(handler=_check)
    device = commands.add_parser(
        "bench-ondevice", help="measure the student against the toolkit's"
    )
    device.add_argument("--rounds", type=int, default=2_000)
    device.set_defaults(handler=_bench_ondevice)
    worth = commands.add_parser(
        "ablation", help="measure what each choice is worth"
    )
    worth.add_argument("--seeds", type=int, default=1, choices=(1, 2, 3))
    worth.add_argument("--only", default="", help="part of a variant's name")
    worth.set_defaults(handler=_ablation)
    show = commands.add_parser("recommend", help="ask a running server")
    show.add_argument("--user", default="")
    ids.add_option(show, "--history", "latest last")
    show.add_argument("--target", default="127.0.0.1:8500")
    show.set_defaults(handler=_recommend)
    demo = commands.add_parser("demo", help="everything, end to end")
    demo.add_argument("--force", action="store_true")
    demo.set_defaults(handler=_demo)
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
        print(console.evaluation(run.evaluation))


@contextlib.contextmanager
def _figures(run: Run, options: argparse.Namespace) -> Iterator[None]:
    """Shows the evaluation behind a release, and behind a refused one."""
    try:
        yield
    except GateRejected:
        print(console.evaluation(run.evaluation))
        _report(run.config, options)
        raise
    print(console.evaluation(run.evaluation))
    _report(run.config, options)


def _report(config: Config, options: argparse.Namespace) -> None:
    from pipeline.report import step as report

    page = report.run(config, Path(options.config), tuple(options.set))
    print(f"report: {page}")


def _rollback(config: Config, options: argparse.Namespace) -> None:
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


_WITHOUT_CONFIG = {
    "bench-scale": _bench_scale,
    "init-config": _draft,
    "generate": _generate,
    "spark-up": _spark_up,
}


def _count(text: str) -> int:
    """A positive number; 100_000_000 reads better than its digits."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _shard(text: str) -> tuple[int, int]:
    """Which slice of how many."""
    shard, _slash, count = text.partition("/")
    if not (shard.isdigit() and count.isdigit() and int(shard) < int(count)):
        raise argparse.ArgumentTypeError(
            "must be I/N with I from 0 to N - 1, such as 0/4"
        )
    return int(shard), int(count)


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


def _demo(config: Config, options: argparse.Namespace) -> None:
    from pipeline.terminal import showcase

    run = Run(config, options.force, console.progress)
    with _figures(run, options):
        run.publish()
        print(showcase.demo(run, console.progress))
    print(console.next_commands(run.prepared()))


def _complain(kind: str, message: str) -> None:
    print(f"{kind}: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
