"""The table of what each choice is worth."""

import json
from pathlib import Path

import pytest

from models.config import RankingConfig, RetrievalConfig
from pipeline.bench import ablation
from pipeline.run.config import Config
from pipeline.run.data import PrepareConfig, SyntheticSource
from pipeline.steps import Run


def test_each_variant_changes_one_choice() -> None:
    options = RetrievalConfig(encoder="attention")
    found = ablation.variants(Config(name="case", seed=1, retrieval=options))
    names = [variant.name for variant in found]
    assert len(set(names)) == len(names)
    for words in ("encoder bow", "no item features", "ranking without items"):
        assert words in names
    assert "encoder attention" not in names  # It is configured.
    assert found[0].changes == {}
    assert all(variant.changes for variant in found[1:])


@pytest.mark.slow
def test_variants_share_models_and_a_second_run_trains_nothing(
    tmp_path: Path,
) -> None:
    config = Config(
        name="tiny",
        seed=3,
        artifacts=str(tmp_path),
        source=SyntheticSource(
            num_users=100, num_items=60, interactions_per_user=14
        ),
        prepare=PrepareConfig(split="leave_last_out"),
        retrieval=RetrievalConfig(
            encoder="bow", embedding_dim=8, batch_positions=256, epochs=1
        ),
        ranking=RankingConfig(epochs=1),
    )
    lines: list[str] = []
    directory = config.run_directory / "ablation"

    def measure(pattern: str) -> list[tuple[str, list[float], list[float]]]:
        prepared = Run(config).prepared()
        table = ablation.run(config, prepared, 1, pattern, lines.append)
        rows = [
            (row["variant"], row["retrieval"], row["two_stage"])
            for row in json.loads((directory / "ablation.json").read_text())
        ]
        assert table == [
            ["variant", "retrieval", "two_stage"],
            *([name, f"{a[0]:.4f}", f"{b[0]:.4f}"] for name, a, b in rows),
        ]
        return rows

    rows = measure("ranking without p")
    assert [row[0] for row in rows] == [
        "as configured",
        "ranking without popularity",
    ]
    _, (retrieval,), (two_stage,) = rows[1]
    # Training keeps the order of retrieval where it finds nothing better.
    assert 0 <= retrieval <= two_stage <= 1
    made = {path: path.stat().st_mtime_ns for path in directory.glob("r*-*")}
    assert len(made) == 3

    assert len(list(directory.glob("retrieval-*"))) == 1

    (configured,) = measure("of no variant")
    assert configured[1] == [retrieval]
    assert measure("ranking without p")[1][2] == [two_stage]
    assert made == {path: path.stat().st_mtime_ns for path in made}
