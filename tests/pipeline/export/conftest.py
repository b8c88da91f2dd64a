"""The exported models of `tiny_run`, loaded."""

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from models.config import FIRST_ITEM
from pipeline.steps import Run
from serving import signatures


@pytest.fixture(scope="module")
def exports(tiny_run: Run) -> Path:
    return tiny_run.export()


@pytest.fixture(scope="module")
def loaded(exports: Path) -> dict[str, Any]:
    return {
        name: tf.saved_model.load(str(exports / name))
        for name in signatures.BUNDLE
    }


@pytest.fixture(scope="module")
def items(tiny_run: Run) -> list[bytes]:
    ids = tiny_run.prepared().items.ids[FIRST_ITEM:]
    return [str(item).encode() for item in ids]
