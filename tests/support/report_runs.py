"""Made-up runs, with a hostile catalogue, that have every step."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.evaluate import examples
from pipeline.evaluate.evaluation import (
    Difference,
    Diversity,
    Evaluation,
    Live,
    Precision,
    Ratings,
    Row,
    Student,
)
from pipeline.measure import requests
from pipeline.prepare import step as prepare
from pipeline.retrieval.report import Point, Report, Tuned
from pipeline.run import config as configuration
from pipeline.run import manifest
from pipeline.tables import prepared as tables
from pipeline.tables.profile import Profile
from tests.support import evaluations

TITLES = (
    "<script>alert(1)</script>",
    '"><img src=http://evil.example/x onerror=alert(1)>',
    "a|b *c* [d](http://evil.example) `e`",
    "</title></style></svg>",
    "&amp; ${NAME} $x^2$",
    "Ünïcödé – 映画",
)
OPTIONS = """# ratings of <b>nobody</b>
name = "stub"
seed = 3
artifacts = "{folder}/artifacts"
[source]
kind = "tabular"
path = "{folder}/log.csv"
items_path = "{folder}/items.csv"
title = "name"
[prepare]
split = "leave_last_out"
"""


def make(folder: Path) -> Path:
    """A config file whose run has every step."""
    path = folder / "stub.toml"
    path.write_text(OPTIONS.format(folder=folder), "utf-8")
    (folder / "log.csv").write_text(
        "user_id,item_id,timestamp\n"
        + "".join(
            f"u{user},i{(user + step) % len(TITLES)},{10**9 + 86_400 * step}\n"
            for user in range(12)
            for step in range(4)
        )
    )
    quoted = (title.replace('"', '""') for title in TITLES)
    (folder / "items.csv").write_text(
        "item_id,name\n"
        + "".join(f'i{n},"{title}"\n' for n, title in enumerate(quoted)),
        "utf-8",
    )
    config = configuration.load(path)
    run = config.run_directory
    with manifest.stage(run / "prepare", {"libraries": {"numpy": "2"}}) as here:
        prepare.run(config, here)
    curve = [{"loss": 3.0, "ndcg@10": 0.1, "ndcg@100": 0.2}] * 3
    trained = {"encoder": "bow", "best_epoch": 2, "curve": curve}
    written = {
        "train-retrieval/metrics": {"base": trained, "final": trained},
        "train-ranking/metrics": {
            "best_epoch": 1,
            "curve": [{"ndcg@10": 0.1}, *curve],
            "rating": {"epochs": 1, "validation_rmse": [1.0, 1.1]},
        },
        "distill/metrics": {"histories": 9, "student": {"loss": [2.0, 1.0]}},
        "gate": {"bundle_id": "b1", "accepted": True, "reasons": []},
    }
    for name, values in written.items():
        target = run / f"{name}.json"
        target.parent.mkdir(exist_ok=True)
        target.write_text(json.dumps(values))
    frontier = [Point(2, 1, 5, 3, 0.5, 0.1), Point(2, 2, 5, 4, 0.9, 0.4)]
    tuned = Tuned([6], frontier[1], 0.2, True, frontier)
    (run / "index").mkdir()
    Report(6, 5, 0.9, 0.4, tuned).write(run / "index")
    for name in ("train-retrieval", "index", "train-ranking", "distill"):
        choice = {"option": f"{name}.x", "value": 3, "why": "9 <targets>"}
        manifest.Record({}, 10**18, 1.0, [choice]).write(run / name)
    (run / "evaluate").mkdir()
    manifest.Record({}, 10**18, 1.0).write(run / "evaluate")
    evaluation().write(run / "evaluation.json")
    models = evaluation().models
    evaluations.details(*models).write(run / "evaluate")
    live = config.serving_directory / "retrieval/4/assets.extra"
    live.mkdir(parents=True)
    days, hours = (9,) + (0,) * 7, (9,) + (0,) * 23
    Profile(10**9, 10**9 + 10, 9, {"i0": 9}, days, hours).write(live)
    prepared = tables.load(run / "prepare")
    asked = requests.make(prepared, "test")
    lists = np.tile(np.arange(2, 2 + len(TITLES), dtype=np.int32), (12, 1))
    answers = {
        name: (np.zeros(lists.shape), lists)
        for name in ("two_stage", "retrieval", "random")
    }
    examples.write(run / "evaluate", prepared, asked, answers)
    return path


def evaluation() -> Evaluation:
    found = evaluations.made(window_markov=0.15, retrieval=0.18)
    tenths = tuple(
        Row(model, f"popularity_{place}", 9, *[place / 20] * 5)
        for model in ("two_stage", "retrieval")
        for place in (1, 5, 10)
    )
    pairs = (("window_markov", 0.01), ("live", -0.01))
    return replace(
        found,
        rows=found.rows + tenths,
        baselines={"popularity": {}, "window_markov": {"window": 5}},
        differences=tuple(
            Difference("two_stage", name, "ndcg@10", 0.05, low, 0.09, 0.01, 1.3)
            for name, low in pairs
        ),
        live=Live(4),
        left_out={"ease": "it has <too> many items"},
        ratings=Ratings(0.9, 20),
        diversity=(Diversity(0.0, 0.2, 0.5, 0.9),),
        ondevice=Student(
            "int8", "a", "b1", {"int8": Precision(900, *[0.1] * 4)}
        ),
        sanity=replace(found.sanity, list_overlap={"two_stage": 0.1}),
    )
