"""The example notebook runs as it stands, and shows what it says it shows."""

import re
from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[2] / "pipeline/examples/orders.ipynb"
# Texts of the last cells with code: people with their lists, a newcomer.
SHOWN = (r"latest in the history +recommended\n(.+ {2,}.+\n){5}", r"then ")


def _texts(notebook: nbformat.NotebookNode) -> list[str]:
    return [
        "".join(output.get("text", "") for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def _pictures(notebook: nbformat.NotebookNode) -> int:
    return sum(
        "image/png" in output.get("data", {})
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    )


def test_what_it_shows_is_kept() -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    order = [cell.execution_count for cell in cells]
    assert order == list(range(1, len(cells) + 1)), "run `make notebook`"
    for pattern, text in zip(SHOWN, _texts(notebook)[-2:], strict=True):
        assert re.search(pattern, text)
    assert _pictures(notebook) == 1
    kinds = {output.output_type for cell in cells for output in cell.outputs}
    assert "error" not in kinds
    assert "/tmp/" not in NOTEBOOK.read_text("utf-8")


@pytest.mark.slow
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    kept = nbformat.read(NOTEBOOK, 4)
    notebook = nbformat.read(NOTEBOOK, 4)
    folder = {"metadata": {"path": str(NOTEBOOK.parent)}}
    nbclient.NotebookClient(notebook, timeout=900, resources=folder).execute()
    for pattern, text in zip(SHOWN, _texts(notebook)[-2:], strict=True):
        assert re.search(pattern, text)
    assert _pictures(notebook) == 1
    # The files and the config come out as they are shown.
    assert _texts(notebook)[1:3] == _texts(kept)[1:3]
