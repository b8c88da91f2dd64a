"""The catalogue's vectors in two dimensions, and for TensorBoard's projector.

Principal components: K. Pearson, On lines and planes of closest fit to
systems of points in space, 1901.

Shape letters: N items with padding and out of vocabulary, D width of their
vectors, P points.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.explore.catalogue import Catalogue
from serving.releases import files

VECTORS, METADATA = "vectors.tsv", "metadata.tsv"
# TensorBoard looks for this name.
CONFIG = "projector_config.pbtxt"
# What a page draws and a browser keeps.
_MOST_POINTS = 20_000
_DIGITS = 4


@dataclass(frozen=True)
class Map:
    """The most popular items as points.

    Attributes:
        ids: Of the points, the most popular first.
        titles: Of the points.
        x: From -1 to 1.
        y: On the same scale as `x`.
        features: By feature, the place of each point's first value in `words`,
            -1 for none.
        words: The values of each feature.
        share: Of the vectors' variance that two dimensions keep.
        items: All there are.
    """

    ids: Sequence[str]
    titles: Sequence[str]
    x: Sequence[float]
    y: Sequence[float]
    features: dict[str, Sequence[int]]
    words: dict[str, Sequence[str]]
    share: float
    items: int


def principal(vectors: np.ndarray) -> tuple[np.ndarray, float]:
    """Coordinates `[P, 2]` of vectors `[P, D]`, and the variance they keep."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    first = axes[:, ::-1][:, :2]
    # The sign of an axis means nothing: take one that is always the same.
    largest = np.abs(first).argmax(axis=0)
    first = first * np.sign(first[largest, np.arange(first.shape[1])])
    found = np.zeros((len(vectors), 2))
    found[:, : first.shape[1]] = centred @ first
    total = values.sum()
    return found, float(values[::-1][:2].sum() / total) if total > 0 else 1.0


def draw(vectors: np.ndarray, catalogue: Catalogue) -> Map:
    """Makes the map of candidate embeddings `[N, D]`."""
    rows = catalogue.popular[:_MOST_POINTS]
    points, share = principal(vectors[rows])
    points /= max(np.abs(points).max(initial=0.0), 1e-12)
    return Map(
        [str(catalogue.ids[row]) for row in rows],
        [catalogue.title(row) for row in rows],
        points[:, 0].round(_DIGITS).tolist(),
        points[:, 1].round(_DIGITS).tolist(),
        {
            name: catalogue.first_word(name, rows).tolist()
            for name in catalogue.words
        },
        catalogue.words,
        round(share, _DIGITS),
        len(catalogue),
    )


def write(vectors: np.ndarray, catalogue: Catalogue, directory: Path) -> None:
    """Writes all vectors `[N, D]` as `tensorboard --logdir` reads them.

    The config comes last: without it TensorBoard sees nothing.
    """
    directory.mkdir(parents=True, exist_ok=True)
    rows = catalogue.popular
    with files.staged(directory / VECTORS) as staged:
        np.savetxt(staged, vectors[rows], fmt="%.6g", delimiter="\t")
    items = catalogue.describe(str(catalogue.ids[row]) for row in rows)
    names = sorted({name for item in items.values() for name in item.features})
    with (
        files.staged(directory / METADATA) as staged,
        staged.open("w", encoding="utf-8") as out,
    ):
        out.write("\t".join(["title", "id", "interactions", *names]) + "\n")
        for item in items.values():
            cells = [item.title, item.id, str(item.interactions)]
            cells += [item.features.get(name, "") for name in names]
            # Neither a tab nor the end of a line inside a cell.
            out.write("\t".join(" ".join(c.split()) for c in cells) + "\n")
    with files.staged(directory / CONFIG) as staged:
        staged.write_text(
            'embeddings {\n  tensor_name: "candidates"\n'
            f"  tensor_path: {json.dumps(VECTORS)}\n"
            f"  metadata_path: {json.dumps(METADATA)}\n}}\n",
            encoding="utf-8",
        )
