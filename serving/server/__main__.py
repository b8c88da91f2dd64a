"""`python -m serving.server`: the embedded model server."""

import gc
import logging
import os
import sys
from collections.abc import Sequence
from importlib import metadata

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# TensorFlow reads that level once, when it is imported.
import tensorflow as tf  # noqa: E402

from serving.errors import ServingError  # noqa: E402
from serving.server import flags  # noqa: E402
from serving.server.process import Server  # noqa: E402
from serving.server.telemetry import events  # noqa: E402
from serving.stop_signals import StopSignals  # noqa: E402


def main(arguments: Sequence[str]) -> int:
    """Runs a server until SIGTERM or Ctrl-C.

    Returns:
        Exit status: 0 after a drained stop, 255 if it could not start.
    """
    events.setup()
    # gRPC writes a stack trace for every message that is no protobuf.
    logging.getLogger("grpc._common").setLevel(logging.CRITICAL)
    options = flags.parse(arguments)
    if options.version:
        api = metadata.version("tensorflow-serving-api")
        sys.stdout.write(
            f"TensorFlow ModelServer: {api} (embedded, same API)\n"
            f"TensorFlow Library: {tf.__version__}\n"
        )
        return 0
    try:
        flags.check(options)
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
