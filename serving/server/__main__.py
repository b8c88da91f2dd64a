"""`python -m serving.server`: the embedded model server."""

import gc
import logging
import os
import sys
from collections.abc import Sequence
from importlib import metadata

from serving.errors import ServingError
from serving.server import flags
from serving.server.telemetry import events
from serving.stop_signals import StopSignals


def main(arguments: Sequence[str]) -> int:
    """Runs until SIGTERM or Ctrl-C; the exit status, 255 without a start."""
    # Help, versions and mistyped flags are answered before TensorFlow is
    # imported, which takes seconds; it reads this level once.
    options = flags.parse(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if options.version:
        api = metadata.version("tensorflow-serving-api")
        sys.stdout.write(
            f"TensorFlow ModelServer: {api} (embedded, same API)\n"
            f"TensorFlow Library: {metadata.version('tensorflow')}\n"
        )
        return 0
    events.setup()
    # gRPC writes a stack trace for every message that is no protobuf.
    logging.getLogger("grpc._common").setLevel(logging.CRITICAL)
    try:
        flags.check(options)
        from serving.server.process import Server

        server = Server(options)
    except ServingError as error:
        return _fail(error)

    stop = StopSignals()
    try:
        server.start(stop.is_set)
    except ServingError as error:
        status = 0 if stop.is_set() else _fail(error)
        # Loading threads may be inside TensorFlow: leave without them.
        os._exit(status)
    # What lives as long as the process need not be searched for garbage: that
    # takes a fifth of a second, and every request waits.
    gc.collect()
    gc.freeze()
    stop.wait()
    events.info("server_stopping", grace=options.drain_seconds)
    server.stop()
    events.info("server_stopped")
    # A request that was cut off may still compute: leave without its thread.
    logging.shutdown()
    os._exit(0)


def _fail(error: ServingError) -> int:
    # TensorFlow Serving says this on standard output.
    sys.stdout.write(f"Failed to start server. Error: {error.code}: {error}\n")
    sys.stdout.flush()
    return 255


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
