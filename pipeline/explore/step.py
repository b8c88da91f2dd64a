"""Starts the explorer: reads the run, finds a server, opens the page."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.explore import place as places
from pipeline.explore import projection
from pipeline.explore.explorer import Explorer
from pipeline.explore.offline import Offline, Tables
from pipeline.explore.site import Site
from pipeline.run.config import Config

Progress = Callable[[str], None]
# Below the run's directory.
PROJECTOR = "projector"


@dataclass(frozen=True)
class Addresses:
    """Who is asked, and where the page is.

    Attributes:
        port: Of the page; 0 takes a free one.
        target: The server's gRPC address; "" for the usual one, then our own.
        rest: Its REST address; "" for the port behind that of gRPC.
    """

    port: int = 0
    target: str = ""
    rest: str = ""


@contextlib.contextmanager
def start(
    config: Config, addresses: Addresses, progress: Progress
) -> Iterator[Site]:
    """Yields the page's server, ready to serve.

    Raises:
        DataError: If the run is not evaluated.
        ServingError: If the port is taken, or no server answers.
    """
    # Bound first: whoever waits for a run to be read does not want to learn
    # after that that the port is taken.
    with Site(addresses.port) as site:
        offline = Offline.of(config, Tables.read(config))
        progress(
            f"explore: {len(offline.catalogue):,} items, "
            f"{offline.catalogue.num_users:,} users, "
            f"{len(offline.baselines)} baselines fitted"
        )
        with places.find(
            config,
            offline.catalogue,
            addresses.target,
            addresses.rest,
            progress,
        ) as place:
            site.explorer = Explorer(offline, place, site.url)
            yield site


def project(config: Config) -> Path:
    """Writes the vectors for TensorBoard's projector; the folder."""
    tables = Tables.read(config)
    directory = config.run_directory / PROJECTOR
    projection.write(tables.vectors, tables.catalogue, directory)
    return directory
