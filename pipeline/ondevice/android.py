"""Assets that TensorFlow's Android recommendation sample loads unchanged.

Writes `config.json`, `recommendation.tflite`, `sorted_movie_vocab.json` and,
where the student has a column of genres, `movie_genre_vocab.txt`: the contents
of the app's `assets` folder. The app addresses inputs and outputs by number,
fills up histories with 0 at the end, and runs TFLite 2.2.0, which knows no
batched matrix product and none of the later versions of operations.

What the app calls genres of the history are of use for items that are not in
its list (id 1, unknown): they are placed by their genres, as the student
places known ones. Genres of known items are in the item table already.

Shape letters: L history length, G genres, K recommendations, D width.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.tools import flatbuffer_utils

from models import student as students
from models.config import FIRST_ITEM, UNKNOWN, check
from models.student import Student
from pipeline.ondevice import distill
from pipeline.ondevice.bundle import Catalogue, Words
from pipeline.ondevice.convert import Precision, converter_of
from pipeline.run import manifest
from pipeline.run.config import Config
from pipeline.tables.prepared import Prepared
from pipeline.tables.schema import DataError

CONFIG, MODEL = "config.json", "recommendation.tflite"
MOVIES, GENRES = "sorted_movie_vocab.json", "movie_genre_vocab.txt"
RUNTIME = (2, 2, 0)
_MOVIE_INPUT, _GENRE_INPUT = "context_movie_id", "context_movie_genre"
_IDS, _SCORES = "top_prediction_ids", "top_prediction_scores"
_SHOWN, _FAVORITES, _GENRE_LENGTH = 10, 100, 32


class _GenreAware:
    """A student that places unknown items by the genres of the request.

    Args:
        embeddings: Of the genres, [size, D].
        genres: int32 [G], lines of the genre list; 0 is unknown.
    """

    def __init__(
        self, student: Student, embeddings: np.ndarray, genres: tf.Tensor
    ) -> None:
        self.config, self.repeats = student.config, student.repeats
        self._student = student
        count = len(embeddings) - FIRST_ITEM
        known = tf.logical_and(genres > 0, genres <= count)
        # Line 1 is the first word, whose embedding comes after padding and
        # unknown.
        rows = tf.where(known, genres + (FIRST_ITEM - 1), 0)
        present = tf.cast(known, tf.float32)[:, None]
        total = tf.reduce_sum(
            tf.gather(tf.constant(embeddings), rows) * present, axis=0
        )
        self._mean = total / tf.maximum(tf.reduce_sum(present), 1.0)

    def encode(
        self, history: tf.Tensor, embedded: tf.Tensor, scale: np.ndarray
    ) -> tf.Tensor:
        """As the student does, of history [1, L]."""
        unknown = tf.cast(tf.equal(history, UNKNOWN), tf.float32)
        embedded += unknown[..., None] * self._mean
        return self._student.encode(history, embedded, scale=scale)


def convert(
    student: Student, genres: str = "", precision: Precision = "float16"
) -> bytes:
    """The student as a .tflite file for the app.

    Args:
        student: Called at least once, so that its layers are built.
        genres: Its column of genres, "" for none.
        precision: Of the weights in the file; all is computed in float32.

    Raises:
        DataError: If the app's runtime would refuse the file.
    """
    table = student.table().numpy()
    scale = np.ones(table.shape[1], np.float32)
    specs = [
        tf.TensorSpec([student.config.history_length], tf.int32, _MOVIE_INPUT)
    ]
    embeddings = _embeddings(student, genres) if genres else None
    if genres:
        specs.append(tf.TensorSpec([_GENRE_LENGTH], tf.int32, _GENRE_INPUT))

    @tf.function(input_signature=specs)
    def serve(history: tf.Tensor, *given: tf.Tensor) -> dict[str, tf.Tensor]:
        encoder: Any = student
        if given and embeddings is not None:
            encoder = _GenreAware(student, embeddings, given[0])
        found = students.recommend(encoder, table, scale, history)
        scores = tf.sigmoid(found["scores"])
        return {_IDS: found["ids"], _SCORES: scores}

    converter = converter_of(student, serve, precision)
    converter.unfold_batchmatmul = True
    content: bytes = converter.convert()
    needed = minimum_runtime(content)
    if needed > RUNTIME:
        raise DataError(
            "The app's model must run on TFLite "
            f"{'.'.join(map(str, RUNTIME))}. Received: operations of "
            f"{'.'.join(map(str, needed))} (from the "
            f"{student.config.encoder} encoder). Choose another encoder."
        )
    return content


@dataclass(frozen=True)
class Genres:
    """What the app calls genres: a categorical item column.

    Attributes:
        column: Its name, "" for none.
        known: Its words, without padding and unknown.
        words: Those of each row, to be shown.
    """

    column: str
    known: Sequence[str]
    words: Words


def run(
    config: Config,
    prepared: Prepared,
    distilled: Path,
    directory: Path,
    wanted: str | None = None,
) -> int:
    """Writes the assets of a run's student; the bytes of its model.

    Args:
        wanted: Column of genres; see `genres_of`.
    """
    student = distill.load(config, prepared, distilled)
    catalogue = Catalogue.of(prepared, student.num_rows)
    genres = genres_of(prepared, catalogue, wanted)
    used = config.student.item_features
    is_asked = genres.column and (genres.column in used or used == ("*",))
    return write(student, catalogue, genres, directory, bool(is_asked))


def write(
    student: Student,
    catalogue: Catalogue,
    genres: Genres,
    directory: Path,
    is_asked: bool = False,
    precision: Precision = "float16",
) -> int:
    """Replaces the assets as a whole; the bytes of the model.

    Args:
        is_asked: Whether the student has the column of genres, so that the
            app can send them too.
    """
    catalogue.check(student)
    directory = output(directory)
    check(
        (
            not any("\n" in word or "\r" in word for word in genres.known),
            "A genre must be one line. Received: one with a line break.",
        ),
    )
    column = genres.column if is_asked else ""
    content = convert(student, column, precision)
    staging = directory.with_name(f".staging-{directory.name}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    (staging / MODEL).write_bytes(content)
    movies = [
        {
            "id": row,
            "title": catalogue.titles[row] or catalogue.ids[row],
            "genres": list(genres.words[row]),
            "count": int(catalogue.counts[row]),
        }
        for row in sorted(
            range(FIRST_ITEM, student.num_rows),
            key=lambda row: -int(catalogue.counts[row]),
        )
    ]
    manifest.write_json(staging / MOVIES, movies)
    if column:
        # The app counts different lines: the first must be like no other.
        unknown = "UNK"
        while unknown in genres.known:
            unknown += "_"
        lines = "\n".join([unknown, *genres.known])
        (staging / GENRES).write_text(lines, encoding="utf-8")
    manifest.write_json(staging / CONFIG, describe(content, bool(column)))
    manifest.replace(staging, directory)
    return len(content)


def output(directory: Path) -> Path:
    """Where assets may be written, as an absolute path.

    Raises:
        ConfigError: If something else lies there: it would be replaced too.
    """
    directory = directory.resolve()
    ours = {CONFIG, MODEL, MOVIES, GENRES}
    found = [directory]
    if directory.is_dir():
        found = [one for one in directory.iterdir() if one.name not in ours]
    elif not directory.exists():
        found = []
    check(
        (
            not found,
            "The folder of the assets must be absent, empty or hold earlier "
            f"assets: it is replaced as a whole. Received: {directory} with "
            f"{', '.join(sorted(one.name for one in found)[:3])} (from "
            "--output). Name a folder of its own.",
        ),
    )
    return directory


def describe(content: bytes, genres: bool) -> dict[str, object]:
    """The app's `config.json` for a model: which number is which tensor."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    inputs, outputs = (
        {
            entry.name.decode(): list(places).index(entry.tensorIndex)
            for entry in entries
        }
        for entries, places in (
            (signature.inputs, graph.inputs),
            (signature.outputs, graph.outputs),
        )
    )
    features = {_MOVIE_INPUT: "movieFeature", _GENRE_INPUT: "genreFeature"}
    length = int(graph.tensors[graph.outputs[outputs[_IDS]]].shape[0])
    config: dict[str, object] = {
        "model": MODEL,
        "inputs": [
            {
                "name": features[name],
                "index": place,
                "inputLength": int(graph.tensors[graph.inputs[place]].shape[0]),
            }
            for name, place in sorted(inputs.items(), key=lambda pair: pair[1])
        ],
        "movieList": MOVIES,
        "topK": min(_SHOWN, length),
        "outputLength": length,
        "outputIdsIndex": outputs[_IDS],
        "outputScoresIndex": outputs[_SCORES],
        "pad": 0,
        "favoriteListSize": _FAVORITES,
    }
    if genres:
        config |= {"genreList": GENRES, "unknownGenre": 0}
    return config


def minimum_runtime(content: bytes) -> tuple[int, ...]:
    """The oldest TFLite that runs a model, as its converter noted."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for entry in model.metadata or ():
        if entry.name == b"min_runtime_version":
            text = bytes(model.buffers[entry.buffer].data).rstrip(b"\0")
            return tuple(int(part) for part in text.decode().split("."))
    raise DataError(
        "A model must note the runtime it needs. Received: no such note. "
        "Convert it with the TensorFlow of requirements.txt."
    )


def _embeddings(student: Student, column: str) -> np.ndarray:
    for weight in student.weights:
        if weight.name.split(":")[0].rsplit("/", 1)[-1] == f"{column}_table":
            return weight.numpy()
    raise DataError(
        f"`genres` must be an item feature of the student. Received: "
        f"{column!r}. Name it in student.item_features."
    )


def genres_of(
    prepared: Prepared, catalogue: Catalogue, wanted: str | None
) -> Genres:
    """The column of genres.

    Args:
        wanted: The column; None takes `genres` where there is one, and no
            words otherwise.

    Raises:
        DataError: If `wanted` is no column of words.
    """
    columns = list(catalogue.features)
    column = "genres" if wanted is None else wanted
    if column in columns:
        known = [str(word) for word in prepared.vocabularies[f"items.{column}"]]
        return Genres(column, known, catalogue.features[column])
    if wanted is None:
        return Genres("", [], [[] for _ in catalogue.ids])
    raise DataError(
        "`--genres` must be a categorical item column. Received: "
        f"{wanted!r}; there {'is' if len(columns) == 1 else 'are'} "
        f"{', '.join(columns) or 'none'} (from {prepared.directory}). "
        "Name one of the source's item_features."
    )
