"""SavedModels that obey serving/signatures.py and answer by arithmetic.

The same answers as fake_server.py: item "i7" scores 7 for retrieval, ranking
turns the order round, seen and excluded items are hidden.
`python -m tests.support.toy_models DIRECTORY VERSION` exports each once.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from tests.support.fake_server import (
    CANDIDATES,
    CATALOGUE,
    EXCLUDED,
    FLOAT,
    INT64,
    ITEM,
    QUERY,
    STRING,
    WIDTH,
)

MODELS = ("retrieval", "ranking", "recommender")


DTYPES = {STRING: tf.string, FLOAT: tf.float32, INT64: tf.int64}


def specs(inputs):
    return [
        tf.TensorSpec([None] * rank, DTYPES[dtype], name=name)
        for name, (dtype, rank) in inputs.items()
    ]


def _numbers(ids):
    known = tf.strings.regex_full_match(ids, r"i\d+")
    return tf.strings.to_number(
        tf.strings.substr(tf.where(known, ids, "i0"), 1, 9)
    )


def _best(hidden, name):
    """`hidden` [B, H] -> the best WIDTH items that are not among them."""
    catalogue = tf.constant(CATALOGUE)
    seen = tf.reduce_any(catalogue[None, :, None] == hidden[:, None, :], axis=2)
    scores = tf.where(seen, -1.0, _numbers(catalogue)[None])
    scores, indices = tf.math.top_k(scores, WIDTH)
    return {name: tf.gather(catalogue, indices), "scores": scores}


class Retrieval(tf.Module):
    @tf.function(input_signature=specs(QUERY))
    def serving_default(self, user_id, history, age, hour, tags, country):
        return _best(history, "candidate_ids")

    @tf.function(input_signature=specs(QUERY | EXCLUDED))
    def with_exclusions(
        self, user_id, history, age, hour, tags, country, excluded_ids
    ):
        return _best(tf.concat([history, excluded_ids], 1), "candidate_ids")

    @tf.function(input_signature=specs(ITEM))
    def similar_items(self, item_id):
        return _best(item_id[:, None], "candidate_ids")


class Ranking(tf.Module):
    @tf.function(input_signature=specs(QUERY | CANDIDATES))
    def serving_default(
        self, user_id, history, age, hour, tags, country, candidate_ids
    ):
        scores = tf.where(
            candidate_ids == "", -float("inf"), -_numbers(candidate_ids)
        )
        order = tf.argsort(scores, direction="DESCENDING", stable=True)
        return {
            "candidate_ids": tf.gather(candidate_ids, order, batch_dims=1),
            "scores": tf.gather(scores, order, batch_dims=1),
        }

    @tf.function(input_signature=specs(QUERY | CANDIDATES))
    def score(self, user_id, history, age, hour, tags, country, candidate_ids):
        scores = -_numbers(candidate_ids)
        return {"scores": scores, "predicted_rating": scores / 4}


class Recommender(tf.Module):
    @tf.function(input_signature=specs(QUERY | EXCLUDED))
    def serving_default(
        self, user_id, history, age, hour, tags, country, excluded_ids
    ):
        return _best(tf.concat([history, excluded_ids], 1), "item_ids")


CLASSES = {
    "retrieval": (
        Retrieval,
        ["serving_default", "with_exclusions", "similar_items"],
    ),
    "ranking": (Ranking, ["serving_default", "score"]),
    "recommender": (Recommender, ["serving_default"]),
}


def export(directory, version=1, models=MODELS):
    """Writes `<directory>/<model>/<version>` for each model, by rename."""
    directory = Path(directory)
    for model in models:
        make, signatures = CLASSES[model]
        module = make()
        staging = directory / model / f".staging-{version}"
        tf.saved_model.save(
            module,
            str(staging),
            signatures={name: getattr(module, name) for name in signatures},
        )
        # Names the release, as our exports do: both stages switch together.
        manifest = staging / "assets.extra" / "manifest.json"
        manifest.parent.mkdir(exist_ok=True)
        manifest.write_text(json.dumps({"bundle_id": f"toy-{version}"}))
        staging.rename(directory / model / str(version))


def models_config(directory, models=MODELS, versions=None):
    """Writes models.config: the newest version, or the one given."""
    policy = ""
    if versions is not None:
        listed = " ".join(f"versions: {version}" for version in versions)
        policy = f"model_version_policy {{ specific {{ {listed} }} }}"
    text = "\n".join(
        f'  config {{ name: "{model}" base_path: "{directory / model}" '
        f'model_platform: "tensorflow" {policy} }}'
        for model in models
    )
    path = Path(directory) / "models.config"
    temporary = path.with_suffix(".new")
    temporary.write_text(f"model_config_list {{\n{text}\n}}\n")
    temporary.rename(path)
    return path


if __name__ == "__main__":
    export(sys.argv[1], int(sys.argv[2]))
