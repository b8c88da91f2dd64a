"""A small run and a server of plain Python behind the explorer's page.

The catalogue is that of `fake_server`: item "i7" has the row 9, retrieval
returns the largest numbers first, and ranking turns their order round.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from models.config import FeatureSpec
from pipeline.explore.explorer import Explorer
from pipeline.explore.offline import Offline, Tables
from pipeline.explore.online import Online
from pipeline.explore.place import Place
from pipeline.explore.site import Site
from pipeline.run.config import Config
from tests.support import evaluations
from tests.support.fake_server import CATALOGUE, HAS, FakeServer
from tests.support.prepared_stub import InMemory, make_prepared
from tests.support.web_cases import running

GENRES = ("Crime", "Musical")
MODELS = ("retrieval", "retrieval_exact", "ranking", "recommender")
SETTINGS = {
    "random": {},
    "popularity": {},
    "item_knn": {"shrinkage": 5, "decay": 0.9},
    "window_markov": {"window": 5, "backward": 0.5, "decay": 0.8},
}
# Rows of items, oldest first: the last of each user is test. Who took i0 took
# i1 next, and i5 was taken by all.
SEQUENCES = [
    [2, 3, 7, 4, 5],
    [2, 3, 7, 8, 9],
    [2, 3, 7, 12, 4],
    [7, 14, 15, 16, 6],
]


class Tabled(InMemory):
    """Tables whose items have what the model server filters by."""

    def item_values(self):
        numbers = range(len(CATALOGUE))
        return {
            name.removeprefix("allowed_"): pa.array(
                [[has(number).decode()] for number in numbers]
            )
            for name, has in HAS.items()
        }


class Student:
    """An on-device model that offers the first of the catalogue."""

    config = {
        "version": 3,
        "precision": "int8",
        "encoder": "bow",
        "model_bytes": 1234,
        "bundle_id": "s1",
    }

    def recommend(self, history, excluded=()):
        kept = [i for i in CATALOGUE if i not in (*history, *excluded)]
        return [(item, -float(place)) for place, item in enumerate(kept[:8])]


def prepared():
    """Tables with titles and a feature; every third item is a musical."""
    made = make_prepared(SEQUENCES, len(CATALOGUE))
    rows = len(CATALOGUE) + 2
    titles = [f"Tale {number:02d} of Many" for number in range(rows - 2)]
    titles[4] = "Amélie, the Third"
    genres = np.array([0, 0, *(2 + (n % 3 == 0) for n in range(rows - 2))])
    items = dataclasses.replace(
        made.items,
        titles=np.array(["", "", *titles], object),
        features={"genres": genres.astype(np.int32)},
        specs=(FeatureSpec("genres", "categorical", 4),),
    )
    given = vars(made) | {
        "items": items,
        "vocabularies": {"items.genres": list(GENRES)},
    }
    return Tabled(**given)


def embeddings():
    """Vectors on a circle: neighbours by number are neighbours."""
    angles = np.arange(len(CATALOGUE) + 2) * 0.1
    found = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found[:2] = 0.0
    return found.astype(np.float32)


def offline(artifacts: Path, repeats: bool = False) -> Offline:
    """The run, with its baselines and a student."""
    config = Config(name="small", seed=1, artifacts=str(artifacts))
    measured = dataclasses.replace(
        evaluations.made("b1"), baselines=dict(SETTINGS)
    )
    made = dataclasses.replace(prepared(), repeat_consumption=repeats)
    found = Offline.of(config, Tables(made, measured, embeddings()))
    return dataclasses.replace(found, student=Student(), left_out={})


def model_server(port: int = 0) -> FakeServer:
    """A server of all four models."""
    server = FakeServer(MODELS, port)
    server.signatures["retrieval_exact"] = server.signatures["retrieval"]
    return server


@contextlib.contextmanager
def explored(artifacts: Path) -> Iterator[tuple[Site, FakeServer]]:
    """The page's server, and the model server that it asks."""
    with (
        model_server() as server,
        Online.open(server.target) as online,
        running(Site()) as site,
    ):
        place = Place(online, "127.0.0.1:1", False)
        site.explorer = Explorer(offline(artifacts), place, site.url)
        yield site, server
