"""`python -m serving.ondevice.web`: the page, served on this machine."""

import argparse
import sys
from collections.abc import Sequence

from serving.errors import ServingError
from serving.ondevice import bundle as ondevice
from serving.ondevice.web.site import Site


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until interrupted; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m serving.ondevice.web")
    ondevice.add_options(parser)
    parser.add_argument("--port", type=int, default=8080, help="0: any")
    parser.add_argument(
        "--server",
        default="",
        help="REST address, host:port, of a server to compare with",
    )
    options = parser.parse_args(arguments)
    try:
        bundle = options.bundle or ondevice.live(options.serving)
        site = Site(bundle, options.port, options.server)
    except ServingError as error:
        print(f"web: {error}", file=sys.stderr)
        return 1
    print(f"web: {bundle} at {site.url} (Ctrl-C ends it)", flush=True)
    try:
        site.serve_forever()
    except KeyboardInterrupt:
        print("web: stopped")
    finally:
        site.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
