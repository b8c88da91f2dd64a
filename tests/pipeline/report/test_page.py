"""The report in a browser: quiet, on its own, in light, dark and print."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.report import step
from pipeline.run import config as configuration
from tests.support import chromium, report_runs

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PHONE, DESK = (
    {"width": width, "height": height}
    for width, height in ((390, 844), (1280, 900))
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = report_runs.make(tmp_path_factory.mktemp("page"))
    return step.run(configuration.load(path), path)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium.started() as started:
        yield started


@pytest.fixture
def visit(browser: Any, report: Path) -> Iterator[Any]:
    """Opens the report, offline; a complaint or a request fails the test."""
    opened, said, asked = [], [], []

    def open_page(**options: Any) -> Any:
        page = browser.new_page(offline=True, **options)
        opened.append(page)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(report.as_uri())
        return page

    yield open_page
    for page in opened:
        page.close()
    assert not said
    assert set(asked) == {report.as_uri()}


@pytest.mark.parametrize(
    ("scheme", "media"),
    [("light", "screen"), ("dark", "screen"), ("light", "print")],
)
def test_it_can_be_seen_in(visit: Any, scheme: str, media: str) -> None:
    page = visit(color_scheme=scheme, viewport=DESK)
    page.emulate_media(media=media, color_scheme=scheme)
    levels = _greys(page.screenshot())
    # Text on a page: both ends of the scale are there.
    assert levels.min() < 90 and levels.max() > 190
    is_dark = levels.mean() < 128
    assert is_dark == (scheme == "dark")


def _greys(picture: bytes) -> Any:
    from matplotlib import image

    return 255 * image.imread(io.BytesIO(picture))[..., :3].mean(axis=2)


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_nothing_is_wider_than_the_page(visit: Any, viewport: Any) -> None:
    page = visit(viewport=viewport)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width == viewport["width"]


def test_what_is_folded_is_printed_and_can_be_opened(visit: Any) -> None:
    page = visit(viewport=DESK)
    sheet = page.locator("#data-sheet details").first
    assert not sheet.locator("p").first.is_visible()
    sheet.locator("summary").click()
    assert sheet.locator("p").first.is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_every_link_leads_to_a_section(visit: Any) -> None:
    page = visit(viewport=DESK)
    links = page.eval_on_selector_all(
        "nav a", "all => all.map(a => document.querySelector(a.hash)?.tagName)"
    )
    assert links and set(links) == {"SECTION"}


def test_it_is_small(report: Path) -> None:
    assert 50_000 < report.stat().st_size < 3e6
