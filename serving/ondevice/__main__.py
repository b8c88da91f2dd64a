"""`python -m serving.ondevice`: one history answered, or the golden file."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving import ids
from serving.errors import ServingError
from serving.ondevice.bundle import OnDevice, live

_SHOWN = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Answers one history or replays the golden file; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m serving.ondevice")
    parser.add_argument("command", choices=("recommend", "replay"))
    parser.add_argument(
        "--bundle", type=Path, help="its folder; the live one by default"
    )
    parser.add_argument(
        "--serving", type=Path, default=Path("artifacts/serving")
    )
    ids.add_option(parser, "--history", "latest last")
    ids.add_option(parser, "--exclude", "not to answer")
    options = parser.parse_args(arguments)
    write: Any = sys.stdout.write
    try:
        bundle = OnDevice(options.bundle or live(options.serving))
        if options.command == "replay":
            write(f"replay: {bundle.replay()} golden cases agree\n")
            return 0
        history = ids.written(options.history, "--history")
        excluded = ids.written(options.exclude, "--exclude")
        unknown = [item for item in history if not bundle.knows(item)]
        if unknown:
            sys.stderr.write(
                f"ondevice: {len(unknown)} of {len(history)} items are not in "
                f"the vocabulary and count as unknown: "
                f"{', '.join(unknown[:_SHOWN])}"
                + (", ...\n" if len(unknown) > _SHOWN else "\n")
            )
        answer = bundle.recommend(history, excluded)
        if not answer:
            sys.stderr.write("ondevice: nothing is left to recommend\n")
        for item, score in answer:
            title = bundle.title(item)
            write(f"{item}\t{score:.4f}" + (f"\t{title}\n" if title else "\n"))
    except ServingError as error:
        sys.stderr.write(f"ondevice: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
