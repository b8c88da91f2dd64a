"""Bundles that the page shows, and servers beside it."""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import models  # noqa: F401  (selects Keras 2)
from models.student import Student
from models.student_config import StudentConfig
from pipeline.ondevice import bundle

ROWS, LENGTH = 60, 5


def make(seed: int) -> Student:
    # More than the page shows.
    config = StudentConfig(
        encoder="attention", history_length=LENGTH, num_recommendations=14
    )
    student = Student(config, ROWS)
    student(np.zeros([1, LENGTH], np.int32))
    random = np.random.default_rng(seed)
    student.set_weights(
        [
            random.normal(0, 0.3, weight.shape).astype(np.float32)
            for weight in student.get_weights()
        ]
    )
    return student


def write(directory: Path, seed: int, precision: Any) -> Path:
    rows = range(2, ROWS)
    bundle.write(
        make(seed),
        bundle.Catalogue(
            ["", "", *(f"i{row:02d}" for row in rows)],
            ["", "", *(f"Title {row:02d} of Many" for row in rows)],
            [0, 0, *(row % 7 for row in rows)],
            {"genres": [[], [], *([f"g{row % 5}"] for row in rows)]},
        ),
        directory,
        precision,
    )
    return directory


def write_both(folder: Path) -> dict[str, Path]:
    """A bundle of each precision, by its name."""
    return {
        "int8": write(folder / "int8", 3, "int8"),
        "float32": write(folder / "float32", 4, "float32"),
    }


@contextlib.contextmanager
def running(server: http.server.HTTPServer) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class ModelServer(http.server.BaseHTTPRequestHandler):
    """The REST answers of a server, with two of the page's items."""

    asked: list[dict[str, Any]]
    answer: list[str]

    def do_GET(self) -> None:
        inputs = {
            "history": {"dtype": "DT_STRING", "tensor_shape": shape(2)},
            "user_id": {"dtype": "DT_STRING", "tensor_shape": shape(1)},
            "context_hour": {"dtype": "DT_FLOAT", "tensor_shape": shape(1)},
        }
        signatures = {"serving_default": {"inputs": inputs}}
        self.send(
            {"metadata": {"signature_def": {"signature_def": signatures}}}
        )

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.asked.append(json.loads(self.rfile.read(length)))
        # Another answer before anything is picked.
        empty = self.asked[-1]["inputs"].get("history") == [[""]]
        items = [] if empty else self.answer
        self.send({"outputs": {"item_ids": [items], "scores": [[1.0]]}})

    def send(self, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def shape(rank: int) -> dict[str, Any]:
    return {"dim": [{"size": "-1", "name": ""}] * rank}


@contextlib.contextmanager
def model_server(answer: list[str]) -> Iterator[tuple[str, list[Any]]]:
    asked: list[Any] = []
    handler = type(
        "Handler", (ModelServer,), {"asked": asked, "answer": answer}
    )
    with running(http.server.HTTPServer(("127.0.0.1", 0), handler)) as server:
        yield f"127.0.0.1:{server.server_port}", asked
