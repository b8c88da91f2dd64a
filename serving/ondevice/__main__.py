"""`python -m serving.ondevice`: one history answered, or the golden file."""

import argparse
import sys
from collections.abc import Sequence

from serving import ids
from serving.errors import ServingError
from serving.ondevice.bundle import OnDevice, add_options, live

_SHOWN = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Answers one history or replays the golden file; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m serving.ondevice")
    parser.add_argument("command", choices=("recommend", "replay"))
    add_options(parser)
    ids.add_option(parser, "--history", "latest last")
    ids.add_option(parser, "--exclude", "not to answer")
    options = parser.parse_args(arguments)
    try:
        bundle = OnDevice(options.bundle or live(options.serving))
        if options.command == "replay":
            print(f"replay: {bundle.replay()} golden cases agree")
            return 0
        history = ids.written(options.history, "--history")
        excluded = ids.written(options.exclude, "--exclude")
        unknown = [item for item in history if not bundle.knows(item)]
        if unknown:
            more = ", ..." if len(unknown) > _SHOWN else ""
            print(
                f"ondevice: {len(unknown)} of {len(history)} items are not in "
                "the vocabulary and count as unknown: "
                f"{', '.join(unknown[:_SHOWN])}{more}",
                file=sys.stderr,
            )
        answer = bundle.recommend(history, excluded)
        if not answer:
            print("ondevice: nothing is left to recommend", file=sys.stderr)
        for item, score in answer:
            title = bundle.title(item)
            print(f"{item}\t{score:.4f}" + (f"\t{title}" if title else ""))
    except ServingError as error:
        print(f"ondevice: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
