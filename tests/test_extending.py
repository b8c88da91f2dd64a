"""Each row of the table in EXTENDING.md, done as it says in a copy of the code.

A few lines are added where the table says, and nowhere else; a process of its
own then uses what was added.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What is added: file, the text it goes before, the lines.
Edit = tuple[str, str, str]
ENCODER: list[Edit] = [
    (
        "models/layers/history.py",
        "class BagEncoder",
        "class LatestEncoder(tf.keras.layers.Layer):\n"
        "    def __init__(self, config, **kwargs):\n"
        "        super().__init__(**kwargs)\n"
        "    def call(self, x, mask, training=False):\n"
        "        return x\n\n\n",
    ),
    (
        "models/layers/history.py",
        '        "cnn": ConvolutionEncoder',
        '        "latest": LatestEncoder,\n',
    ),
    ("models/config.py", '"bow", "cnn", "rnn", "attention"]', '"latest", '),
]
SOURCE: list[Edit] = [
    (
        "pipeline/run/data.py",
        "Source = SyntheticSource",
        "@dataclass(frozen=True)\n"
        "class PairsSource(Options):\n"
        '    """A log in one string.\n\n'
        "    Attributes:\n"
        '        kind: "pairs".\n'
        '        text: Such as "u1 i1 u1 i2".\n'
        '    """\n\n'
        '    kind: Literal["pairs"] = "pairs"\n'
        '    text: str = ""\n\n\n',
    ),
    ("pipeline/run/data.py", "SyntheticSource | Movielens", "PairsSource | "),
    (
        "pipeline/sources/__init__.py",
        "    if isinstance(source, MovielensSource):\n        return movielens",
        '    if source.kind == "pairs":\n'
        "        from pipeline.sources import pairs\n"
        "        return pairs.read(source, directory)\n",
    ),
    (
        "pipeline/sources/__init__.py",
        "    if isinstance(source, SyntheticSource):",
        '    if source.kind == "pairs":\n        return []\n',
    ),
]
PAIRS = """
import pyarrow as pa
from pyarrow import parquet as pq
from pipeline.sources.canonical.tables import Tables

def read(source, directory):
    words = source.text.split()
    columns = {"user_id": words[::2], "item_id": words[1::2]}
    columns["timestamp"] = list(range(len(words) // 2))
    path = directory / "interactions.parquet"
    pq.write_table(pa.table(columns), path)
    return Tables(interactions=path)
"""
BASELINE: list[Edit] = [
    ("pipeline/evaluate/baselines.py", '    "item_knn",\n', '    "last_id",\n'),
    (
        "pipeline/evaluate/baselines.py",
        '    "item_knn": {',
        '    "last_id": {"weight": (-1.0, 1.0)},\n',
    ),
    (
        "pipeline/evaluate/baselines.py",
        '        elif name == "recent_popularity":',
        '        elif name == "last_id":\n'
        '            items = settings["weight"] * np.arange(\n'
        "                log.num_items, dtype=np.float32)\n",
    ),
]
SIGNAL: list[Edit] = [
    ("models/config.py", '    "cooccurrence",\n', '    "number",\n'),
    (
        "models/signals.py",
        '        if "cooccurrence" in self._groups:',
        '        if "number" in self._groups:\n'
        "            parts.append(_number(candidates))\n",
    ),
    (
        "models/signals.py",
        "def _rank(",
        "def _number(candidates):\n"
        "    return tf.cast(candidates, tf.float32)[..., tf.newaxis]\n\n\n",
    ),
]
FLAG: list[Edit] = [
    (
        "serving/server/flags.py",
        "    max_batch_rows=",
        '    max_models=(3, "that are served"),\n',
    )
]
OPTION: list[Edit] = [
    (
        "pipeline/run/release.py",
        "        recall_floor:",
        "        spare: Items.\n",
    ),
    (
        "pipeline/run/release.py",
        "    recall_floor: Pos",
        "    spare: Count = 4\n",
    ),
]
USE = """
import json, pathlib, sys
import numpy as np
import tensorflow as tf
from models import config as models_config
from models.layers import history
from pipeline.evaluate import baselines
from pipeline.run import config, options
from pipeline.steps import Run
from serving.server import flags
from tests.models import test_ranking as small
from tests.support.prepared_stub import make_prepared

found = {}
x, mask = tf.ones([2, 3, 8]), tf.ones([2, 3], bool)
chosen = models_config.RetrievalConfig(encoder="latest", embedding_dim=8)
found["encoder"] = history.make(chosen)(x, mask).shape.as_list()

path = pathlib.Path("pairs.toml")
path.write_text('name = "pairs"\\nseed = 1\\n[source]\\nkind = "pairs"\\n'
    'text = "' + " ".join(f"u{n % 5} i{n % 7}" for n in range(70)) + '"\\n')
found["source"] = Run(config.load(path, ())).prepared().summary["interactions"]

rows = [[n % 6 + 2 for n in range(k, k + 5)] for k in range(30)]
log = make_prepared(rows, 8)
fitted = {one.name: one for one in baselines.fit_all(log)}
found["baseline"] = fitted["last_id"].settings

make = lambda fixture: fixture.__wrapped__
features = make(small.features)()
towers = make(small.towers)(features)
ranked = models_config.RankingConfig(features=("number",))
layer = small.Signals(ranked, towers, make(small.tables)())
query, candidates = small.request(small.HISTORIES, small.CANDIDATES)
found["signal"] = layer(query, candidates)[1].numpy()[0, :, 0].tolist()

found["flag"] = flags.parse(["--max_models=7"]).max_models
found["option"] = config.load(path, ["index.spare=5"]).index.spare
found["told"] = [line for line in options.describe("index") if "spare" in line]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a process finds that uses all that was added."""
    copy = tmp_path_factory.mktemp("extended")
    for name in ("models", "pipeline", "serving", "tests"):
        shutil.copytree(
            ROOT / name,
            copy / name,
            ignore=shutil.ignore_patterns("node_modules", "__pycache__"),
        )
    for edits in (ENCODER, SOURCE, BASELINE, SIGNAL, FLAG, OPTION):
        for name, before, lines in edits:
            text = (copy / name).read_text("utf-8")
            assert before in text, f"{name} has no {before!r}: see here, above"
            text = text.replace(before, lines + before, 1)
            (copy / name).write_text(text, "utf-8")
    (copy / "pipeline/sources/pairs.py").write_text(PAIRS, "utf-8")
    run = subprocess.run(
        [sys.executable, "-c", USE],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert not run.returncode, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "gives"),
    [
        ("encoder", [2, 3, 8]),
        ("source", 70),
        ("signal", [6.0, 2.0, 6.0, 0.0]),
        ("flag", 7),
        ("option", 5),
        ("told", ["spare = 4"]),
    ],
)
def test_what_is_added_where_the_table_says_works(
    found: dict[str, object], what: str, gives: object
) -> None:
    assert found[what] == gives


@pytest.mark.slow
def test_a_baseline_that_is_added_is_tuned(found: dict[str, object]) -> None:
    assert found["baseline"] in ({"weight": -1.0}, {"weight": 1.0})


def test_the_table_names_the_files_that_were_touched() -> None:
    text = (ROOT / "pipeline/EXTENDING.md").read_text("utf-8")
    rows = [row for row in text.splitlines() if row.startswith("| a")]
    for start, edits in {
        "an encoder": ENCODER,
        "a source": SOURCE,
        "a baseline": BASELINE,
        "a signal": SIGNAL,
        "a flag": FLAG,
    }.items():
        (row,) = [row for row in rows if row.startswith(f"| {start} ")]
        for name, *_ in edits:
            assert f"`{name}`" in row, (start, name)
