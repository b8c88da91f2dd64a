import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

import models  # noqa: F401  (selects Keras 2)
from models.config import ConfigError, FeatureSpec
from models.student import Student
from models.student_config import StudentConfig
from pipeline.ondevice import android
from pipeline.ondevice.bundle import Catalogue
from pipeline.tables.schema import DataError
from tests.support.prepared_stub import make_prepared, make_table

ROWS, LENGTH, COUNT = 60, 5, 12
WORDS = ["Drama", "Sci-Fi", "UNK", "Film-Noir"]

# The latest version of each operation in TFLite 2.2.0.
REGISTERED = {
    "ADD": 2,
    "CAST": 1,
    "CONCATENATION": 2,
    "DEQUANTIZE": 4,
    "DIV": 1,
    "EQUAL": 2,
    "EXP": 1,
    "FULLY_CONNECTED": 6,
    "GATHER": 3,
    "GREATER": 2,
    "GREATER_EQUAL": 2,
    "LESS": 2,
    "LOGICAL_AND": 1,
    "LOGISTIC": 2,
    "MAXIMUM": 2,
    "MAX_POOL_2D": 2,
    "MINIMUM": 2,
    "MUL": 3,
    "NOT_EQUAL": 2,
    "PACK": 2,
    "PAD": 2,
    "REDUCE_MAX": 2,
    "RESHAPE": 1,
    "SCATTER_ND": 1,
    "SELECT_V2": 1,
    "SLICE": 3,
    "SPLIT": 3,
    "STRIDED_SLICE": 4,
    "SUB": 2,
    "SUM": 2,
    "TANH": 2,
    "TOPK_V2": 2,
    "TRANSPOSE": 3,
    "UNPACK": 3,
}


def make(encoder: str, genres: bool = False) -> Student:
    config = StudentConfig(
        encoder=encoder,
        embedding_dim=16,
        history_length=LENGTH,
        num_recommendations=COUNT,
    )
    size = len(WORDS) + 2
    column = np.tile(np.arange(2, size)[:, None], (ROWS // 4, 1))
    column[:2] = 0
    spec = FeatureSpec("genres", "multi_categorical", size, 1)
    student = Student(
        config,
        ROWS,
        {"genres": column.astype(np.int32)} if genres else None,
        (spec,) if genres else (),
    )
    student(np.zeros([1, LENGTH], np.int32))
    random = np.random.default_rng(3)
    student.set_weights(
        [
            random.normal(0, 0.3, weight.shape).astype(np.float32)
            for weight in student.get_weights()
        ]
    )
    return student


def write(student: Student, directory: Path, **options: Any) -> Path:
    words = [[], [], *([WORDS[row % 4]] for row in range(2, ROWS))]
    counts = [0, 0, *((row * 7) % 50 for row in range(2, ROWS))]
    titles = ["", "", *(f"Title {row}" for row in range(2, ROWS))]
    catalogue = Catalogue([""] * ROWS, titles, counts)
    genres = android.Genres("genres", WORDS, words)
    android.write(student, catalogue, genres, directory, **options)
    return directory


class App:
    """The app's own steps, on what stands in its assets."""

    def __init__(self, assets: Path) -> None:
        self.config = json.loads((assets / "config.json").read_text())
        uses = self.config.get("genreList") is not None
        names = [entry["name"] for entry in self.config["inputs"]]
        assert names and uses == ("genreFeature" in names)
        content = (assets / self.config["model"]).read_bytes()
        self.interpreter = Interpreter(model_content=content)
        self.interpreter.allocate_tensors()
        movies = json.loads((assets / self.config["movieList"]).read_text())
        self.favorites = movies[: self.config["favoriteListSize"]]
        self.candidates = {movie["id"]: movie for movie in movies}
        self.genres: dict[str, int] = {}
        if uses:
            text = (assets / self.config["genreList"]).read_text()
            for genre in text.split("\n"):
                self.genres[genre] = len(self.genres)

    def raw(self, *inputs: list[int]) -> tuple[list[int], list[float]]:
        places = self.interpreter.get_input_details()
        assert len(inputs) == len(places)
        for value, place in zip(inputs, places, strict=True):
            # The app would have to resize a tensor of another shape.
            assert list(place["shape"]) == [len(value)]
            assert place["dtype"] == np.int32
            self.interpreter.set_tensor(
                place["index"], np.asarray(value, np.int32)
            )
        self.interpreter.invoke()
        outputs = self.interpreter.get_output_details()
        ids, scores = (
            self.interpreter.get_tensor(outputs[self.config[name]]["index"])
            for name in ("outputIdsIndex", "outputScoresIndex")
        )
        assert ids.dtype == np.int32 and scores.dtype == np.float32
        assert ids.shape == scores.shape == (self.config["outputLength"],)
        return ids.tolist(), scores.tolist()

    def recommend(self, selected: list[int]) -> list[tuple[int, float]]:
        inputs = []
        for entry in sorted(self.config["inputs"], key=lambda e: e["index"]):
            length = entry["inputLength"]
            if entry["name"] == "movieFeature":
                given, fill = selected, self.config["pad"]
            else:
                unknown = fill = self.config["unknownGenre"]
                given = [
                    self.genres.get(genre, unknown)
                    for movie in selected
                    for genre in self.candidates[movie]["genres"]
                ]
            inputs.append((given + [fill] * length)[:length])
        results: list[tuple[int, float]] = []
        for item, score in zip(*self.raw(*inputs), strict=True):
            if len(results) >= self.config["topK"]:
                break
            if item in self.candidates and item not in selected:
                results.append((item, score))
        return results


def scores_of(student: Student, history: list[int]) -> np.ndarray:
    padded = history + [0] * (LENGTH - len(history))
    scores = student(np.asarray([padded], np.int32)).numpy()[0]
    scores[[0, 1, *history]] = -np.inf
    return np.asarray(scores)


@pytest.mark.parametrize(
    ("encoder", "precision"),
    [
        ("bow", "float16"),
        ("cnn", "float32"),
        ("rnn", "float32"),
        ("attention", "float16"),
    ],
)
def test_the_app_recommends_what_the_student_does(
    tmp_path: Path, encoder: str, precision: Any
) -> None:
    student = make(encoder)
    assets = write(student, tmp_path / "assets", precision=precision)
    app = App(assets)
    for selected in ([], [7], [9, 4, 30], [8, 9, 10, 11, 12]):
        found = app.recommend(selected)
        scores = scores_of(student, selected)
        items = [item for item, _ in found]
        assert len(items) == app.config["topK"] == 10
        # Weights in float16 may swap neighbours.
        exact = np.sort(scores)[::-1][:10]
        np.testing.assert_allclose(scores[items], exact, atol=0.02)
        for item, score in found:
            wanted = 1 / (1 + math.exp(-scores[item]))
            assert score == pytest.approx(wanted, abs=0.005)
    operations(assets / android.MODEL)


def operations(path: Path) -> set[str]:
    """The model's operations, after a look at their versions."""
    names = {
        value: name
        for name, value in vars(schema.BuiltinOperator).items()
        if isinstance(value, int)
    }
    model = flatbuffer_utils.read_model(str(path))
    assert model.version == 3
    used = set()
    for code in model.operatorCodes:
        # Where 2.2.0 reads the operation from.
        assert code.deprecatedBuiltinCode == code.builtinCode < 127
        name = names[code.builtinCode]
        assert name in REGISTERED, f"{name} is not in 2.2.0"
        assert code.version <= REGISTERED[name], f"{name} {code.version}"
        used.add(name)
    return used


def test_the_check_of_operations_sees_what_2_2_0_lacks(tmp_path: Path) -> None:
    from pipeline.ondevice import convert

    path = tmp_path / "model.tflite"
    content = convert.convert(make("bow"), "float32")
    path.write_bytes(content)
    with pytest.raises(AssertionError, match="BATCH_MATMUL is not in 2.2.0"):
        operations(path)
    assert android.minimum_runtime(content) > android.RUNTIME


def test_genres_place_items_that_the_list_lacks(tmp_path: Path) -> None:
    student = make("bow", genres=True)
    assets = write(
        student, tmp_path / "assets", is_asked=True, precision="float32"
    )
    app = App(assets)
    inputs = app.config["inputs"]
    assert [entry["index"] for entry in inputs] == [0, 1]
    length = {entry["name"]: entry["inputLength"] for entry in inputs}
    assert length == {"movieFeature": LENGTH, "genreFeature": 32}
    # A word like the app's for unknown keeps its own number.
    assert [app.genres[word] for word in WORDS] == [1, 2, 3, 4]
    # Known movies carry their genres in the table.
    items = [item for item, _ in app.recommend([7, 20])]
    best = np.argsort(-scores_of(student, [7, 20]), kind="stable")
    assert items == best[:10].tolist()

    def ask(genres: list[int]) -> list[int]:
        padded = genres + [0] * (32 - len(genres))
        values = {"movieFeature": [1, 0, 0, 0, 0], "genreFeature": padded}
        return app.raw(*(values[entry["name"]] for entry in inputs))[0]

    table = student.table().numpy()
    (weight,) = [w for w in student.weights if w.name.startswith("genres")]
    embeddings = weight.numpy()
    for genres in ([2], [1, 4], []):
        row = table[1] + (
            embeddings[[genre + 1 for genre in genres]].mean(axis=0)
            if genres
            else 0.0
        )
        history = np.asarray([[1, 0, 0, 0, 0]], np.int32)
        embedded = np.stack([row, *[table[0]] * 4])[None].astype(np.float32)
        scores = (student.encode(history, embedded).numpy() @ table.T)[0]
        scores[:2] = -np.inf
        assert ask(genres) == np.argsort(-scores)[:COUNT].tolist()
    assert ask([2]) != ask([1, 4])
    # What is no line of the list counts as unknown.
    assert ask([99, -1]) == ask([])


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(make("bow"), tmp_path_factory.mktemp("android") / "assets")


def test_the_movie_list_is_what_the_app_reads(assets: Path) -> None:
    movies = json.loads((assets / android.MOVIES).read_text())
    assert {movie["id"] for movie in movies} == set(range(2, ROWS))
    counts = [movie["count"] for movie in movies]
    assert counts == sorted(counts, reverse=True) and counts[0] == 49
    for movie in movies:
        assert movie.keys() == {"id", "title", "genres", "count"}
        assert movie["title"] == f"Title {movie['id']}"
        assert movie["genres"] == [WORDS[movie["id"] % 4]]
    assert not (assets / android.GENRES).exists()


def test_ids_that_the_list_lacks_are_skipped(assets: Path) -> None:
    app = App(assets)
    best = [item for item, _ in app.recommend([7])]
    del app.candidates[best[0]]
    again = [item for item, _ in app.recommend([7])]
    assert again[:9] == best[1:] and best[0] not in again


def test_more_than_the_model_reads_is_cut_as_the_app_does(
    assets: Path,
) -> None:
    app = App(assets)
    first = [8, 9, 10, 11, 12]
    many = [item for item, _ in app.recommend([*first, 40, 41])]
    few = [item for item, _ in app.recommend(first) if item not in (40, 41)]
    assert many[: len(few)] == few


def test_assets_are_replaced_as_a_whole(tmp_path: Path) -> None:
    student = make("bow", genres=True)
    directory = write(student, tmp_path / "assets", is_asked=True)
    assert (directory / android.GENRES).exists()
    write(student, directory)
    assert not (directory / android.GENRES).exists()
    assert "genreList" not in App(directory).config
    assert [path.name for path in tmp_path.iterdir()] == ["assets"]


def test_nothing_else_is_replaced(tmp_path: Path) -> None:
    kept = tmp_path / "assets" / "fonts" / "one.ttf"
    kept.parent.mkdir(parents=True)
    kept.touch()
    for directory in (tmp_path / "assets", kept):
        with pytest.raises(ConfigError, match="must be absent, empty or hold"):
            write(make("bow"), directory)
    assert kept.exists()


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    student = make("bow")
    with pytest.raises(ConfigError, match="must have 60 rows"):
        android.write(
            student,
            Catalogue([], []),
            android.Genres("", [], []),
            tmp_path / "a",
        )
    with pytest.raises(DataError, match="`genres` must be an item feature"):
        android.convert(student, "genres")
    assert not list(tmp_path.iterdir())


def test_a_column_of_genres_is_found_or_asked_for() -> None:
    # Comedy and nothing else; both words; none.
    column = np.int32([[0, 0], [0, 0], [2, 0], [2, 3], [0, 0]])
    specs = (
        FeatureSpec("mood", "multi_categorical", 4, 2),
        FeatureSpec("year", "numeric"),
    )
    items = make_table("i", 3, 5, specs=specs, features={"mood": column})
    prepared = make_prepared([[2, 3, 4]], 3, items=items)
    prepared.vocabularies["items.mood"] = ["Comedy", "Drama"]
    catalogue = Catalogue.of(prepared, 5)
    named = android.genres_of(prepared, catalogue, "mood")
    words = [[], [], ["Comedy"], ["Comedy", "Drama"], []]
    assert named == android.Genres("mood", ["Comedy", "Drama"], words)
    # The app can do without, but not with what was misspelt.
    assert android.genres_of(prepared, catalogue, None) == android.Genres(
        "", [], [[]] * 5
    )
    for wrong in ("moods", "year"):
        with pytest.raises(DataError, match=f"Received: '{wrong}'; there is"):
            android.genres_of(prepared, catalogue, wrong)
