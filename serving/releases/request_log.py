"""Says in a models configuration which share of requests servers log.

    python -m serving.releases.request_log --share=0.05 --prefix=/logs/requests
    python -m serving.releases.request_log --share=0

Servers follow the file: no restart, and releases keep what it says.
"""

import argparse
import sys
from pathlib import Path

from google.protobuf import text_format

from serving.errors import InvalidRequest, ModelNotFound, ServingError
from serving.prediction_log import collector
from serving.releases import config_text, files, locks
from serving.wire import models_config_pb2


def switch(models_config: Path, share: float, prefix: Path) -> list[str]:
    """Replaces what a configuration says of request logs.

    Args:
        models_config: The file that servers poll.
        share: Of the requests to every model; 0 logs none.
        prefix: What the names of the log's files begin with.

    Returns:
        The models whose requests are logged from now on.

    Raises:
        ServingError: If the share is none, or nothing is published.
    """
    if not 0.0 <= share <= 1.0:
        raise InvalidRequest(
            f"The share must be between 0 and 1. Received: {share:g} (from "
            "--share). 0.05 logs every twentieth request, 0 none."
        )
    if not models_config.is_file():
        raise ModelNotFound(
            "A models config must be there. Received: no file "
            f"{models_config}. Publish a version first: make retrain."
        )
    with locks.Lock(models_config.parent / locks.FILE, locks.RELEASE_SECONDS):
        before = config_text.text_of(models_config, "--models_config")
        config = config_text.parse(
            models_config,
            models_config_pb2.ModelServerConfig(),
            "--models_config",
            text=before,
        )
        models = config.model_config_list.config
        for model in models:
            model.ClearField("logging_config")
            if share:
                wanted = model.logging_config
                wanted.log_collector_config.type = collector.TYPE
                wanted.log_collector_config.filename_prefix = str(
                    prefix.resolve()
                )
                wanted.sampling_config.sampling_rate = share
        lines = before.splitlines()
        comment = [f"{line}\n" for line in lines if line.startswith("#")]
        text = text_format.MessageToString(config, as_utf8=True)
        with files.staged(models_config) as staged:
            staged.write_text("".join(comment) + text, encoding="utf-8")
    return [model.name for model in models] if share else []


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.releases.request_log"
    )
    add = parser.add_argument
    add("--share", type=float, required=True, help="of requests, 0 for none")
    add(
        "--models_config",
        type=Path,
        default=Path("artifacts/serving/models.config"),
        help="the file that servers follow",
    )
    add(
        "--prefix",
        type=Path,
        default=Path("artifacts/requests/log"),
        help="what the files' names begin with, on the servers",
    )
    options = parser.parse_args(arguments)
    try:
        logged = switch(options.models_config, options.share, options.prefix)
    except (ServingError, OSError) as error:
        sys.stderr.write(f"request_log: {error}\n")
        return 2
    what = f"{100 * options.share:g}% of requests to {', '.join(logged)}"
    where = f" in {options.prefix.resolve()}-*.tfrecord"
    sys.stdout.write(f"logged: {what}{where}\n" if logged else "logged: none\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
