"""Exported models answer requests with filters and exclusions."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from pipeline.steps import Run
from tests.support.exported import inputs_of, retriever

# Wanted of each list.
K = 30


@pytest.mark.parametrize("name", ["retrieval", "retrieval_exact"])
def test_filters_hold_and_leave_no_gap(
    tiny_run: Run, loaded: dict[str, Any], items: list[bytes], name: str
) -> None:
    cells = tiny_run.prepared().item_values()["genres"].to_pylist()
    genre = cells[0][0]
    having = {
        item for item, cell in zip(items, cells, strict=True) if genre in cell
    }
    options = loaded[name].signatures["with_options"]

    def ask(**more: Any) -> list[bytes]:
        inputs = {
            key: tf.zeros([1, 0], spec.dtype)
            for key, spec in options.structured_input_signature[1].items()
            if key == "excluded_ids" or key.startswith("allowed_")
        }
        asked = inputs_of([items[:3]], **more)
        answer = options(**(inputs | asked))["candidate_ids"][0].numpy()
        return [item for item in answer if item]

    found = ask(allowed_genres=[[b"nothing", genre.encode()]])
    assert set(found) <= having - set(items[:3])
    assert len(found) == min(K, len(having - set(items[:3])))
    excluded = ask(allowed_genres=[[genre.encode()]], excluded_ids=[found[:4]])
    assert set(found[4:]) <= set(excluded) <= having - set(found[:4])
    assert ask(allowed_genres=[[b"nothing"]]) == []
    # Nothing given, whatever the width, is what was answered before.
    plain = retriever(loaded, name)(**inputs_of([items[:3]]))["candidate_ids"]
    assert ask() == ask(allowed_genres=[[b""]]) == list(plain[0].numpy())


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("name", ["retrieval", "recommender"])
def test_ten_thousand_exclusions_are_right_and_all_of_them_leave_nothing(
    tiny_run: Run,
    loaded: dict[str, Any],
    items: list[bytes],
    name: str,
    filtered: bool,
) -> None:
    genre = tiny_run.prepared().item_values()["genres"].to_pylist()[0][0]
    options = loaded[name].signatures["with_options"]
    inputs = {
        key: tf.zeros([1, 0], spec.dtype)
        for key, spec in options.structured_input_signature[1].items()
    }
    if filtered:
        inputs["allowed_genres"] = tf.constant([[genre.encode()]])
    output = "item_ids" if name == "recommender" else "candidate_ids"
    strangers = [b"x%d" % number for number in range(10_000)]

    def ask(excluded: list[bytes]) -> list[bytes]:
        asked = inputs_of([[b""]], excluded_ids=[excluded])
        found = options(**(inputs | asked))[output][0].numpy()
        return [item for item in found if item]

    first = ask([b""])
    assert ask(strangers) == first
    again = ask([*strangers, *first[:3]])
    assert again and not set(again) & set(first[:3])
    # The same item many times is excluded once.
    assert ask([*first[:3]] * 3_000) == again
    assert ask(items) == []


def test_the_fused_model_filters_as_retrieval_does(
    tiny_run: Run, loaded: dict[str, Any], items: list[bytes]
) -> None:
    cells = tiny_run.prepared().item_values()["genres"].to_pylist()
    genre = cells[0][0]
    having = {
        item for item, cell in zip(items, cells, strict=True) if genre in cell
    }
    options = loaded["recommender"].signatures["with_options"]
    inputs = {
        key: tf.zeros([1, 0], spec.dtype)
        for key, spec in options.structured_input_signature[1].items()
    }
    for diversity in ([[]], [[0.0]], [[0.5]]):
        asked = inputs_of([[b""]], allowed_genres=[[genre.encode()]])
        value = tf.constant(diversity, tf.float32, [1, len(diversity[0])])
        answer = options(**(inputs | asked | {"diversity": value}))
        found = {item for item in answer["item_ids"][0].numpy() if item}
        assert found and found <= having
    asked = inputs_of([items[:3]])
    default = loaded["recommender"].signatures["serving_default"](
        **asked, excluded_ids=tf.constant([[b""]])
    )
    same = options(**(inputs | asked))
    np.testing.assert_array_equal(default["item_ids"], same["item_ids"])
