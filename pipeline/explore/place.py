"""Where the models answer: a running server, or one of our own."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipeline.explore.catalogue import Catalogue
from pipeline.explore.online import Online
from pipeline.export import bundle
from pipeline.run.config import Config
from pipeline.terminal import showcase
from serving import embedded
from serving.errors import ServingError
from serving.releases.history import POINTER

USUAL = "127.0.0.1:8500"
_PROBE_SECONDS = 1.0
_START_SECONDS = 30.0


@dataclass(frozen=True)
class Place:
    """A server that answers for the run.

    Attributes:
        online: Asks it.
        rest: Its REST address.
        is_own: Whether it was started for this.
    """

    online: Online
    rest: str
    is_own: bool


@contextlib.contextmanager
def find(
    config: Config,
    catalogue: Catalogue,
    target: str,
    rest: str,
    progress: Callable[[str], None],
) -> Iterator[Place]:
    """Finds a running server, or starts one on what is published.

    Args:
        config: Of the run.
        catalogue: Which the server must know.
        target: The server to ask; "" for the usual address, then our own.
        rest: Its REST address; "" for the port behind that of gRPC.

    Raises:
        ServingError: If the named server does not answer for this run, or
            none does and nothing is published.
    """
    asked = target or USUAL
    with Online.open(asked) as online:
        try:
            _require(online, catalogue, 5.0 if target else _PROBE_SECONDS)
        except ServingError as error:
            if target:
                raise
            reason = str(error)
        else:
            progress(f"explore: asking the running server on {asked}")
            yield Place(online, rest or _beside(asked), False)
            return
    pointer = config.serving_directory / POINTER
    facts = bundle.live_manifest(config.serving_directory)
    if facts is None:
        raise ServingError(
            "The explorer needs a server or a release. Received: no whole "
            f"release in {config.serving_directory}, and on {asked}: {reason} "
            "Run `make retrain`, or name a server with --target."
        )
    if facts["run"] != config.name:
        raise ServingError(
            "What is published must be of the config's run. Received: run "
            f"{facts['run']!r}, not {config.name!r} (from {pointer}). Name "
            "its config, or publish this run."
        )
    progress("explore: no running server, starting one on what is published")
    port = embedded.free_port()
    log = config.run_directory / "server.log"
    with (
        showcase.serve(pointer, log, f"--rest_api_port={port}") as own,
        Online.open(own) as online,
    ):
        _require(online, catalogue, _START_SECONDS)
        yield Place(online, f"127.0.0.1:{port}", True)


def _require(online: Online, catalogue: Catalogue, seconds: float) -> None:
    """Refuses a server that does not answer, or with other items."""
    for item in online.probe(seconds):
        if not catalogue.knows(item):
            raise ServingError(
                "The server must serve the config's run. Received: item "
                f"{item!r} (from {online.target}), which is not in its "
                f"catalogue of {len(catalogue):,} items. Name the config that "
                "was published, or a target that serves this one.",
                "FAILED_PRECONDITION",
            )


def _beside(target: str) -> str:
    """The REST address as `make serve` sets it: the next port."""
    host, _, port = target.rpartition(":")
    return f"{host}:{int(port) + 1}" if port.isdigit() else target
