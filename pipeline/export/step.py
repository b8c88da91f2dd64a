"""Writes the SavedModels that ship, with warm-up requests and a manifest.

Enters: the trained models and the index. Leaves, in the step's directory, one
SavedModel a name of `serving.signatures`: `retrieval`, `retrieval_exact`,
`ranking`, `recommender`. Each carries `assets.extra/manifest.json` with the
bundle's id and `assets.extra/tf_serving_warmup_requests`: a server replays
them before a version answers, so a model that cannot run (say, without ScaNN's
ops) fails to load instead of failing its first caller.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from models.config import FIRST_ITEM
from pipeline.export import catalogue, graphs, skew
from pipeline.export.encode import IdLookup
from pipeline.export.filters import FilterInputs
from pipeline.export.tracing import Functions, optimized_once
from pipeline.ranking import train as train_ranking
from pipeline.retrieval import index
from pipeline.retrieval import train as train_retrieval
from pipeline.run import auto, manifest
from pipeline.run.config import Config
from pipeline.tables import profile
from pipeline.tables.prepared import Prepared
from serving import signatures

# One alone, one full batch: both shapes are traced before traffic comes.
_WARMUP_ROWS = (1, 8)


def run(
    config: Config,
    prepared: Prepared,
    steps: Mapping[str, Path],
    directory: Path,
    facts: Mapping[str, str] | None = None,
) -> str:
    """Exports every model of the bundle.

    Args:
        steps: Directories of the steps before by name.
        facts: Added to what each model says of itself.

    Returns:
        The bundle id: a digest over every exported file.

    Raises:
        DataError: If the graphs see other values than training saw.
    """
    bundle = build(config, prepared, steps)
    first = bundle[signatures.RETRIEVAL]
    skew.check(
        prepared,
        {
            name: bundle[name].inputs
            for name in (signatures.RETRIEVAL, signatures.RANKING)
        },
        first.item_features if isinstance(first, graphs.Retrieval) else {},
    )
    there = np.setdiff1d(np.arange(len(prepared.items.ids)), prepared.gone)
    samples = {"item_id": list(prepared.items.ids[there[FIRST_ITEM:][:10]])}
    for feature, values in bundle[signatures.RETRIEVAL].allowed.values.items():
        samples[f"{signatures.ALLOWED}{feature}"] = values[:1]
    for name, module in bundle.items():
        save(module, directory / name, name, samples)
    beside = directory / signatures.RETRIEVAL / signatures.EXTRA_ASSETS
    catalogue.write(prepared, beside)
    profile.of(prepared).write(beside)
    bundle_id = manifest.file_digest(directory)[:16]
    query_inputs = sorted(bundle[signatures.RANKING].inputs.signature())
    for name, module in bundle.items():
        manifest.write_json(
            directory / name / signatures.EXTRA_ASSETS / manifest.MANIFEST,
            {
                "model": name,
                "bundle_id": bundle_id,
                "run": config.name,
                "query_inputs": query_inputs,
                "history_length": config.retrieval.history_length,
                "repeat_consumption": prepared.repeat_consumption,
                "num_items": prepared.num_answered,
                signatures.HOLDS: [name, *getattr(module, "others", ())],
                **(facts or {}),
            },
        )
    return bundle_id


def build(
    config: Config, prepared: Prepared, steps: Mapping[str, Path]
) -> dict[str, graphs.Module]:
    """The exported modules by model name, not yet saved."""
    towers = train_retrieval.load(config, prepared, steps["train-retrieval"])
    searcher = index.load(config.index, steps["index"])
    exact = searcher if searcher.is_exact else searcher.exact
    ranker = train_ranking.load(
        config, prepared, steps["train-ranking"], exact.embeddings
    )
    items = IdLookup(list(prepared.items.ids[FIRST_ITEM:]))
    allowed = FilterInputs(prepared.item_values())

    inputs = graphs.QueryInputs(
        prepared,
        items,
        config.retrieval.history_length,
        "user" in config.retrieval.ids,
    )
    first_stage, exact_stage = (
        graphs.Retrieval(inputs, prepared, towers, used, allowed)
        for used in (searcher, exact)
    )
    ranking = graphs.Ranking(
        graphs.QueryInputs(
            prepared, items, config.retrieval.history_length, True
        ),
        ranker,
    )
    stages: dict[str, graphs.Retrieval | graphs.Ranking] = {
        signatures.RETRIEVAL: first_stage,
        signatures.RETRIEVAL_EXACT: exact_stage,
        signatures.RANKING: ranking,
    }
    return stages | {
        signatures.RECOMMENDER: graphs.Recommender(
            first_stage,
            ranking,
            config.index.num_candidates,
            stages if auto.holds(len(prepared.items.ids)).value else {},
        )
    }


def save(
    module: graphs.Module,
    directory: Path,
    name: str,
    samples: Mapping[str, list[str]],
) -> None:
    """Saves a module as a SavedModel with warm-up requests on real ids."""
    with optimized_once():
        functions = module.functions()
        held = module.held() if isinstance(module, graphs.Recommender) else {}
        tf.saved_model.save(module, str(directory), signatures=functions | held)
    extra = directory / signatures.EXTRA_ASSETS
    extra.mkdir(exist_ok=True)
    warmup = str(extra / signatures.WARMUP_REQUESTS)
    with tf.io.TFRecordWriter(warmup) as writer:
        for request in warmup_requests(name, functions, samples):
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString())


def warmup_requests(
    name: str, functions: Functions, samples: Mapping[str, list[str]]
) -> Iterator[predict_pb2.PredictRequest]:
    """One request a signature and batch size, on real values.

    `samples` has some of inputs by name; those of `item_id` are items.
    """
    for signature, function in functions.items():
        _, specs = function.structured_input_signature
        for rows in _WARMUP_ROWS:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for key, spec in specs.items():
                values = _filled(key, spec, rows, samples)
                tensor = tf.make_tensor_proto(values, spec.dtype)
                request.inputs[key].CopyFrom(tensor)
            yield request


def _filled(
    key: str,
    spec: tf.TensorSpec,
    rows: int,
    samples: Mapping[str, list[str]],
) -> Sequence[object]:
    """A plausible value for one input."""
    if spec.dtype != tf.string:
        return [0.0] * rows if spec.shape.rank == 1 else [[0.0]] * rows
    items = samples["item_id"]
    if key == "item_id":
        return [items[row % len(items)] for row in range(rows)]
    if key in ("history", "candidate_ids"):
        return [items] * rows
    if spec.shape.rank == 1:
        return [""] * rows
    return [samples.get(key) or [""]] * rows
