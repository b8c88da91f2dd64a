"""Two dimensions of many, and files that TensorBoard reads."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from pipeline.explore import projection
from pipeline.explore.catalogue import Catalogue
from tests.support import explorer_cases
from tests.support.fake_server import CATALOGUE


@pytest.mark.parametrize("width", [1, 2, 7])
def test_principal_components_are_those_of_an_svd(width: int) -> None:
    random = np.random.default_rng(3)
    vectors = random.normal(size=(50, width)) * np.arange(1, width + 1)
    found, share = projection.principal(vectors)
    centred = vectors - vectors.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    expected = (left * values)[:, :2]
    if width == 1:
        assert not found[:, 1].any()
        found = found[:, :1]
    # Up to the signs of the axes.
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-8)
    squares = values**2
    assert share == pytest.approx(squares[:2].sum() / squares.sum())


def test_vectors_that_are_all_alike_are_one_point() -> None:
    found, share = projection.principal(np.ones((4, 3)))
    assert not found.any() and share == 1.0


def test_the_map_has_every_item_in_its_place() -> None:
    catalogue = Catalogue(explorer_cases.prepared(), "test")
    drawn = projection.draw(explorer_cases.embeddings(), catalogue)
    assert sorted(drawn.ids) == sorted(CATALOGUE)
    assert drawn.ids[0] == "i5" and drawn.titles[0] == "Tale 05 of Many"
    assert np.abs([drawn.x, drawn.y]).max() == pytest.approx(1.0, abs=1e-4)
    # An arc stays one: neighbours by number are close.
    places = zip(drawn.x, drawn.y, strict=True)
    points = dict(zip(drawn.ids, places, strict=True))
    near, far = (
        np.hypot(*np.subtract(points["i3"], points[other]))
        for other in ("i4", "i15")
    )
    assert 3 * near < far
    assert drawn.share == 1.0
    place = drawn.ids.index("i6")
    assert drawn.words["genres"][drawn.features["genres"][place]] == "Musical"


def test_tensorboard_reads_what_is_written(tmp_path: Path) -> None:
    tables = explorer_cases.prepared()
    titles = tables.items.titles.copy()
    titles[2] = "A tab\tand a\nline"
    items = dataclasses.replace(tables.items, titles=titles)
    catalogue = Catalogue(dataclasses.replace(tables, items=items), "test")
    vectors = explorer_cases.embeddings()
    projection.write(vectors, catalogue, tmp_path / "projector")
    folder = tmp_path / "projector"
    config = text_format.Parse(
        (folder / "projector_config.pbtxt").read_text(), ProjectorConfig()
    )
    (entry,) = config.embeddings
    numbers = np.loadtxt(folder / entry.tensor_path, delimiter="\t")
    head, *rows = (folder / entry.metadata_path).read_text().splitlines()
    assert head.split("\t") == ["title", "id", "interactions", "genres"]
    cells = [row.split("\t") for row in rows]
    assert len(numbers) == len(cells) == len(CATALOGUE)
    place = [row[1] for row in cells].index("i0")
    assert cells[place] == ["A tab and a line", "i0", "3", "Musical"]
    np.testing.assert_allclose(numbers[place], vectors[2], rtol=1e-5)
