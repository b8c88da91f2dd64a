"""Fixtures every test module shares."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Selects Keras 2 before any test module imports TensorFlow.
import models  # noqa: E402, F401


@pytest.fixture(scope="session")
def data_directory() -> Path:
    """Where data sets are looked for."""
    return Path(os.environ.get("DATA_DIR", "data"))


@pytest.fixture(scope="session")
def movielens_100k(data_directory: Path) -> Path:
    """The MovieLens 100K archive; skips where it is absent."""
    path = data_directory / "ml-100k.zip"
    if not path.is_file():
        pytest.skip(f"{path} is absent; set DATA_DIR to where it is")
    return path
