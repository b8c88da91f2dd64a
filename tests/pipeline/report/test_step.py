"""The report of a made-up run whose catalogue is hostile."""

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TextIO

import pytest

from pipeline import __main__ as command
from pipeline.evaluate.evaluation import Evaluation
from pipeline.release.gate import GateRejected
from pipeline.report import step
from pipeline.report.plots import drawing
from pipeline.run import config as configuration
from pipeline.run.config import Config
from pipeline.steps import Run
from pipeline.tables.schema import DataError
from pipeline.terminal import console
from tests.support import report_runs
from tests.support.report_runs import TITLES

SECTIONS = (
    "Summary",
    "Models",
    "Live against new",
    "Recall at k",
    "Slices",
    "Accuracy and variety",
    "Popularity bias",
    "Calibration",
    "Ten users",
    "Latency",
    "On device",
    "Training",
    "Index",
    "Data",
    "Drift",
    "Model card",
    "Data sheet",
    "Origin",
)
DETAILED = ("Recall at k", "Popularity bias", "Calibration", "Latency")


class Page(HTMLParser):
    """What a browser would see of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(
        self, tag: str, attrs: list[tuple[str, str | None]]
    ) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, name: str) -> list[str]:
        return [value for _, key, value in self.attributes if key == name]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config file whose run has every step."""
    return report_runs.make(tmp_path_factory.mktemp("report"))


@pytest.fixture
def run(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A copy of that run, to take things from; its pictures stay empty."""

    def save(_figure: object, text: TextIO, **_options: object) -> None:
        text.write("<svg></svg>")

    monkeypatch.setattr(drawing.Figure, "savefig", save)
    config = configuration.load(made, [f"artifacts={tmp_path}"])
    shutil.copytree(
        configuration.load(made).run_directory, config.run_directory
    )
    return config


@pytest.fixture(scope="module")
def text(made: Path) -> str:
    return step.run(configuration.load(made), made).read_text("utf-8")


@pytest.fixture(scope="module")
def markdown(made: Path, text: str) -> str:
    directory = configuration.load(made).run_directory
    return (directory / "report.md").read_text("utf-8")


def headings(markdown: str) -> list[str]:
    return re.findall(r"^## (.*)$", markdown, re.M)


def test_every_section_is_there_in_both(text: str, markdown: str) -> None:
    assert tuple(headings(markdown)) == SECTIONS
    assert tuple(re.findall(r"<h2 [^>]*>([^<]*)</h2>", text)) == SECTIONS
    assert "The gate accepted this run" in text
    assert "1.30 times that of window_markov" in text
    assert "9 &lt;targets&gt;" in text


def test_hostile_titles_are_only_text(text: str, markdown: str) -> None:
    page = Page(text)
    assert not {"script", "img", "link", "b", "object"} & set(page.tags)
    assert page.tags["title"] == page.tags["style"] == 1
    assert not [name for name in page.all("onerror")]
    shown = "".join(page.texts)
    for title in TITLES:
        assert title in shown
    assert "ratings of <b>nobody</b>" in shown
    plain = re.sub(r"```.*?```", "", markdown, flags=re.S)
    assert not re.search(r"(?<!\\)<", plain)
    assert not re.search(r"(?<!\\)\]\(", plain)
    (line,) = re.findall(r"^\| 3 \|.*$", plain, re.M)[:1]
    assert len(re.findall(r"(?<!\\)\|", line)) == 5


def test_nothing_is_asked_of_a_network(text: str) -> None:
    page = Page(text)
    links = page.all("href") + page.all("src") + page.all("xlink:href")
    links += re.findall(r"url\(([^)]*)\)", text)
    anchors = page.all("id")
    assert links and all(link.startswith("#") for link in links)
    assert {link[1:] for link in links} <= set(anchors)
    assert max(Counter(anchors).values()) == 1
    assert "@import" not in text
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none';") and "http" not in policy
    assert len(text.encode()) < 3e6


def test_tables_and_pictures_can_be_heard(text: str) -> None:
    page = Page(text)
    assert page.tags["table"] == page.tags["caption"] > 8
    cells = [
        tag
        for tag, name, _ in page.attributes
        if (tag, name) == ("th", "scope")
    ]
    assert len(cells) == page.tags["th"]
    pictures = [value for value in page.all("role") if value == "img"]
    assert len(pictures) == page.tags["svg"] > 8
    assert all(page.all("aria-label"))


def test_every_colour_is_given_for_light_and_dark(text: str) -> None:
    light, dark = re.findall(r":root \{(.*?)\}", text, re.S)[:2]
    used = set(re.findall(r"var\((--[\w-]+)\)", text)) - {"--state"}
    for scheme in (light, dark):
        assert used <= set(re.findall(r"(--[\w-]+):", scheme))
    # Inks that were to be replaced.
    assert "#0102" not in text and "#0103" not in text


@pytest.mark.parametrize(
    ("absent", "gone"),
    [
        (["distill", "train-ranking", "train-retrieval"], {"Training"}),
        (["index"], {"Index"}),
        (["prepare"], {"Data", "Drift", "Data sheet"}),
        (["evaluate/details.json"], set(DETAILED)),
        (["evaluate/examples.json"], {"Ten users"}),
        (["evaluation.json"], {*SECTIONS[:11], "Model card"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_what_is_absent_is_left_out(
    run: Config, made: Path, absent: list[str], gone: set[str]
) -> None:
    for name in absent:
        path = run.run_directory / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = step.run(run, made)
    found = headings(page.with_suffix(".md").read_text("utf-8"))
    assert found == [name for name in SECTIONS if name not in gone]


def test_a_run_that_finds_nothing_has_a_page(run: Config, made: Path) -> None:
    path = run.run_directory / "evaluation.json"
    found = Evaluation.read(path)
    rows = [
        replace(row, recall_at_10=0.0, ndcg_at_10=0.0) for row in found.rows
    ]
    replace(found, rows=tuple(rows)).write(path)
    page = step.run(run, made).with_suffix(".md").read_text("utf-8")
    assert "keep nothing of the server's NDCG@10" in page


def test_a_rejection_gives_its_reasons(run: Config, made: Path) -> None:
    gate = run.run_directory / "gate.json"
    reason = "two_stage must exceed <popularity>."
    said = {"bundle_id": "b1", "accepted": False, "reasons": [reason]}
    gate.write_text(json.dumps(said))
    page = step.run(run, made).read_text("utf-8")
    assert "The gate rejected this run" in page and "Rejected" in page
    assert "two_stage must exceed &lt;popularity&gt;." in page
    # What was said of another bundle says nothing.
    gate.write_text(json.dumps(said | {"bundle_id": "b0"}))
    page = step.run(run, made).read_text("utf-8")
    assert "Not judged" in page and "must exceed" not in page


def test_a_run_without_any_step_is_refused(made: Path, tmp_path: Path) -> None:
    config = configuration.load(made, [f"artifacts={tmp_path}"])
    with pytest.raises(DataError, match="no complete step"):
        step.run(config, made)


def test_the_command_says_where_and_how_to_repeat(
    run: Config,
    made: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(console, "quiet_native_logs", lambda path: None)
    change = f"artifacts={run.artifacts}"
    options = ["--config", str(made), "--set", change]
    assert command.main([*options, "report"]) == 0
    page = run.run_directory / "report.html"
    assert capsys.readouterr().out == f"report: {page}\n"
    again = f"make retrain CONFIG={made} SET={change}"
    assert again in page.read_text("utf-8")


@pytest.mark.parametrize("reasons", [[], ["it is worse"]])
def test_a_release_and_a_refused_one_end_with_the_report(
    run: Config,
    made: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    reasons: list[str],
) -> None:
    def publish(_run: Run, _replayed: object) -> None:
        if reasons:
            raise GateRejected(*reasons)

    monkeypatch.setattr(console, "quiet_native_logs", lambda path: None)
    monkeypatch.setattr(Run, "publish", publish)
    change = f"artifacts={run.artifacts}"
    options = ["--config", str(made), "--set", change]
    assert command.main([*options, "retrain"]) == 3 * len(reasons)
    page = run.run_directory / "report.html"
    assert page.exists() and page.with_suffix(".md").exists()
    said = capsys.readouterr().out
    assert f"report: {page}\n" in said
    assert ("make recommend" in said) == (not reasons)
