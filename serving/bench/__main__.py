"""`python -m serving.bench`: what serving costs callers, and what it takes.

    python -m serving.bench swaps --count 50    # both models, again and again
    python -m serving.bench fleet               # one of two servers is lost
    python -m serving.bench logged              # every request is logged
    python -m serving.bench cost                # the graph, what is around it

All ask servers of their own on the published models; nothing published is
touched.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from serving.bench import cost, fleet, logged, swaps
from serving.client import ServingError
from serving.client.command import tables
from serving.client.command.load import Load, Report
from serving.errors import InvalidRequest


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures one of them; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m serving.bench")
    parser.add_argument("command", choices=("swaps", "fleet", "logged", "cost"))
    add = parser.add_argument
    add(
        "--method",
        default="recommend",
        choices=("recommend", "retrieve"),
        help="which question",
    )
    add("--threads", type=int, default=2, help="that ask at once")
    add("--seconds", type=float, default=10.0, help="of each loop")
    add("--rate", type=float, default=50.0, help="requests a second")
    add("--count", type=int, default=50, help="swaps at least")
    add(
        "--models-config",
        type=Path,
        default=Path("artifacts/serving/models.config"),
        help="what the servers serve",
    )
    add("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    report: Report
    try:
        _check(options)
        load = Load(
            options.method, options.threads, options.seconds, options.rate
        )
        if options.command == "fleet":
            report = fleet.run(options.models_config, load)
        elif options.command == "logged":
            report = logged.run(options.models_config, load)
        elif options.command == "cost":
            report = cost.run(options.models_config, load)
        else:
            report = swaps.run(options.models_config, load, options.count)
    except (ServingError, OSError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("bench: interrupted\n")
        return 130
    shown = json.dumps(tables.document(report), indent=2)
    print(shown if options.json else report)
    return 0


def _check(options: argparse.Namespace) -> None:
    if not options.models_config.is_file():
        raise InvalidRequest(
            "The file of --models-config must exist. Received: "
            f"{options.models_config}. Publish a version first: make demo or "
            "make retrain."
        )
    if options.count < 1:
        raise InvalidRequest(
            f"--count must be positive. Received: {options.count}."
        )


if __name__ == "__main__":
    sys.exit(main())
