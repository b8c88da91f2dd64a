"""A staged bundle is tried in a server of its own before it is released."""

import dataclasses
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluate import golden
from pipeline.evaluate import step as evaluate
from pipeline.release import decision, servable
from pipeline.steps import Run


def outcomes(rules):
    return {rule.name: rule.outcome for rule in rules}


@pytest.mark.slow
def test_it_answers_the_golden_requests_as_evaluated(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The way to the server of its own leads past a machine's proxy.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:2")
    evaluated = tiny_run.config.run_directory / "evaluate"
    cases = golden.read(evaluated)
    assert [case.model for case in cases] == ["retrieval", "ranking"]
    # Beside them one that was evaluated otherwise: the negative control.
    other = replace(
        cases[1],
        scores=[[score + 0.1 for score in row] for row in cases[1].scores],
    )
    kept = [dataclasses.asdict(case) for case in (*cases, other)]
    (tmp_path / golden.FILE).write_text(json.dumps(kept))
    exports = tiny_run.config.run_directory / "export"
    found = servable.tried(exports, tmp_path / "serving", tmp_path, 1.0)
    answered = [rule for rule in found if rule.name.startswith("answers of")]
    assert [rule.outcome for rule in answered] == ["holds", "holds", "broken"]
    assert "otherwise than evaluated: scores differ by 0." in answered[2].words
    others = outcomes(rule for rule in found if rule not in answered)
    assert others == {
        "loads in a fresh server": "holds",
        "memory of a hot swap": "not judged",
        "stock operations of ranking": "holds",
        "stock operations of retrieval_exact": "holds",
    }
    memory = next(rule for rule in found if rule.name.startswith("memory"))
    assert memory.value > 2**20


@pytest.mark.slow
def test_what_does_not_load_is_refused_in_the_server_s_words(
    tiny_run: Run, tmp_path: Path
) -> None:
    exports = tmp_path / "export"
    shutil.copytree(tiny_run.config.run_directory / "export", exports)
    (exports / "ranking/saved_model.pb").write_bytes(b"no graph")
    evaluated = tiny_run.config.run_directory / "evaluate"
    (first, *_) = servable.tried(exports, tmp_path, evaluated, 1.0)
    assert first.outcome == "broken"
    assert "must load the bundle" in first.words


def test_without_golden_requests_it_says_so(tmp_path: Path) -> None:
    (rule,) = servable.tried(tmp_path, tmp_path, tmp_path, 1.0)
    assert rule.outcome == "not judged" and "evaluate keeps some" in rule.words


@pytest.mark.slow
def test_a_model_of_shuffled_labels_is_rejected_with_reasons(
    tiny_run: Run, tmp_path: Path
) -> None:
    prepared = tiny_run.prepared()
    ids = prepared.items.ids.copy()
    ids[2:] = np.random.default_rng(1).permutation(ids[2:])
    shuffled = replace(prepared, items=replace(prepared.items, ids=ids))
    config = replace(tiny_run.config, artifacts=str(tmp_path))
    run = config.run_directory
    (run / "evaluate").mkdir(parents=True)
    made = tiny_run.config.run_directory
    found = evaluate.run(
        config, shuffled, made / "export", made / "index", run / "evaluate"
    )
    # What serving says of it is another test's.
    (run / "evaluate" / golden.FILE).unlink()
    reasons = decision.decide(
        config, found, run / "evaluation.json", made / "export", []
    )
    assert any("two_stage must exceed popularity" in line for line in reasons)
    said = decision.read(run)
    assert (said["accepted"], said["reasons"]) == (False, reasons)
    broken = [rule for rule in said["quality"] if rule["outcome"] == "broken"]
    assert "two_stage against popularity" in [rule["name"] for rule in broken]
    assert all(rule["value"] < rule["threshold"] for rule in broken)
    assert any(
        line.startswith("gate, quality: ") for line in decision.lines(run)
    )
