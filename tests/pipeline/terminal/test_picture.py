"""The picture of a terminal: valid, small, of nothing but what was printed."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pipeline.terminal import picture

PRINTED = """\
[   2.4 s] prepare: done in 2.2 s
[ 177.6 s] publish: accepted, version 1 is live
\u2502 Riddle & <Stranger> \u2502 5.51 \u2502
report: artifacts/runs/sample/report.html
"""
SVG = "{http://www.w3.org/2000/svg}"


def _draw(folder: Path, *options: str) -> dict[str, str]:
    printed = folder / "demo.txt"
    printed.write_text(PRINTED, "utf-8")
    arguments = [str(printed), "--command", "make demo", *options]
    assert picture.main([*arguments, "--directory", str(folder)]) == 0
    return {
        theme: (folder / f"demo-{theme}.svg").read_text("utf-8")
        for theme in ("light", "dark")
    }


def _text(svg: str) -> str:
    tree = ElementTree.fromstring(svg)
    lines: dict[float, str] = {}
    for found in tree.iter(f"{SVG}text"):
        y = float(found.get("y", 0))
        lines[y] = lines.get(y, "") + (found.text or "")
    # Blanks between colours are not drawn.
    return "\n".join("".join(line.split()) for line in lines.values())


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_shows_what_was_printed(tmp_path: Path, theme: str) -> None:
    shown = _text(_draw(tmp_path)[theme])
    assert "$makedemo" in shown
    for line in PRINTED.splitlines():
        assert "".join(line.split()) in shown


def test_it_needs_no_network_and_is_small(tmp_path: Path) -> None:
    for svg in _draw(tmp_path).values():
        links = set(re.findall(r"https?://[^\"' )]+", svg))
        assert links == {"http://www.w3.org/2000/svg"}
        assert "<script" not in svg and len(svg) < 20_000


def test_both_themes_differ_in_colours_alone(tmp_path: Path) -> None:
    both = _draw(tmp_path)
    assert _text(both["light"]) == _text(both["dark"])
    assert "#0d1117" in both["dark"] and "#0d1117" not in both["light"]


def test_a_step_is_shown_as_it_ended(tmp_path: Path) -> None:
    printed = "[ 1.0 s] fit: epoch 1 of 2\n[ 2.0 s] fit: done in 2.0 s\nfit: 3"
    assert picture.settled(printed) == printed.partition("\n")[2]


def test_long_output_is_shortened_in_the_middle(tmp_path: Path) -> None:
    shown = _text(_draw(tmp_path, "--first", "1", "--last", "1")["light"])
    assert "prepare" in shown and "report:" in shown
    assert "publish" not in shown and "..." in shown
