"""The page in a browser, against the interpreter."""

import contextlib
import hashlib
import json
import math
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.ondevice import bundle as ondevice
from serving.ondevice.web import site as sites
from serving.ondevice.web.site import Site
from tests.support import chromium
from tests.support.web_cases import LENGTH, model_server, running, write_both

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_both(tmp_path_factory.mktemp("web"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not (sites.PACKAGES / "@litertjs" / "core").is_dir():
        pytest.skip("Node packages are absent: npm ci in serving/ondevice/web")
    with chromium.started() as started:
        yield started


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens the page of a bundle, of which `page.asked` are the requests."""
    with contextlib.ExitStack() as stack:

        def opened(bundle: Path, server: str = "", **options: Any) -> Any:
            site = stack.enter_context(running(Site(bundle, server=server)))
            page = browser.new_page(**options)
            stack.callback(page.close)
            page.set_default_timeout(10_000)
            page.asked, page.site = [], site
            page.on("request", lambda request: page.asked.append(request.url))
            page.goto(site.url)
            page.wait_for_selector("body[data-state]")
            return page

        yield opened


def pick(page: Any, title: str) -> None:
    page.fill("#search", title)
    page.keyboard.press("Enter")


def shown(page: Any, items: list[str], where: str = "recommendations") -> None:
    """Waits until the page shows these items in this order."""
    page.wait_for_function(
        "([list, items]) => JSON.stringify([...document.querySelectorAll("
        "list)].map(li => li.dataset.item)) === JSON.stringify(items)",
        arg=[f"#{where} > li", items],
    )


def expected(bundle: Path, history: list[str]) -> list[str]:
    found = ondevice.OnDevice(bundle).recommend(history)
    return [item for item, _ in found[:10]]


@pytest.mark.browser
@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_the_page_recommends_what_the_interpreter_does(
    visit: Callable[..., Any], bundles: dict[str, Path], precision: str
) -> None:
    bundle = bundles[precision]
    page = visit(bundle)
    history: list[str] = []
    answers = [expected(bundle, history)]
    shown(page, answers[0])
    # Two more than the model reads.
    for row in (7, 31, 12, 55, 2, 48, 20):
        pick(page, f"title {row:02d}")
        history.append(f"i{row:02d}")
        answers.append(expected(bundle, history))
        shown(page, answers[-1])
        shown(page, history, "history")
    assert len({tuple(answer) for answer in answers}) == len(answers)
    assert re.fullmatch(
        r"\d+(\.\d+)? ms on this device",
        " ".join(page.inner_text("#latency").split()),
    )
    assert "reads the latest 5 of your 7" in page.inner_text("#history-note")
    assert page.locator("#server").is_hidden()


@pytest.mark.browser
def test_many_picks_leave_the_answer_in_reach_of_a_phone(
    visit: Callable[..., Any], bundles: dict[str, Path]
) -> None:
    page = visit(bundles["int8"], viewport={"width": 360, "height": 740})
    tops = []
    for row in range(2, 14):
        pick(page, f"title {row:02d}")
        shown(page, [f"i{one:02d}" for one in range(2, row + 1)], "history")
        tops.append(page.locator("#answer-title").bounding_box()["y"])
    # More than the model reads are on hand from the sixth on, which is said.
    assert len(set(tops[LENGTH:])) == 1
    assert tops[-1] < 800
    # The newest is in sight, and nothing sticks out sideways.
    frame = page.locator("#history").bounding_box()
    newest = page.locator("#history > li").last.bounding_box()
    end = frame["y"] + frame["height"]
    assert newest["y"] + newest["height"] <= end + 1
    assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.browser
def test_nothing_leaves_the_machine(
    visit: Callable[..., Any], bundles: dict[str, Path]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0.5)
        port = elsewhere.getsockname()[1]
        page = visit(bundles["int8"])
        pick(page, "title 07")
        shown(page, ["i07"], "history")
        before = len(page.asked)
        assert before > 8
        assert all(
            url.startswith((page.site.url, "data:")) for url in page.asked
        )
        pick(page, "title 08")
        shown(page, ["i07", "i08"], "history")
        # Not even to the server of the page.
        assert len(page.asked) == before
        # And if the page were to try:
        blocked = page.evaluate(
            """async (url) => {
                new Image().src = url;
                try { await fetch(url, {mode: "no-cors"}); return false; }
                catch { return true; }
            }""",
            f"http://127.0.0.1:{port}/",
        )
        assert blocked
        with pytest.raises(TimeoutError):
            elsewhere.accept()


@pytest.mark.browser
def test_the_page_is_used_with_the_keyboard_alone(
    visit: Callable[..., Any], bundles: dict[str, Path]
) -> None:
    bundle = bundles["int8"]
    page = visit(bundle)
    press = page.keyboard.press
    focused = "document.activeElement"
    press("Tab")
    assert page.evaluate(f"{focused}.textContent") == "Skip to search"
    press("Enter")
    assert page.evaluate(f"{focused}.id") == "search"
    field = page.get_by_role("combobox", name="Search titles")
    page.keyboard.type("many 1")
    options = page.get_by_role("listbox").get_by_role("option")
    assert options.count() == 8
    assert field.get_attribute("aria-expanded") == "true"
    press("ArrowDown")
    press("ArrowDown")
    active = field.get_attribute("aria-activedescendant")
    chosen = page.get_by_role("option", selected=True)
    assert chosen.get_attribute("id") == active == "options-1"
    title = chosen.locator("b").inner_text()
    press("Enter")
    first = f"i{title.split()[1]}"
    shown(page, [first], "history")
    shown(page, expected(bundle, [first]))
    assert field.get_attribute("aria-expanded") == "false"
    said = page.get_by_role("status").inner_text()
    assert said.startswith("10 recommendations from 1 pick. First: Title")
    # On to what was picked, and away with it.
    press("Tab")
    assert page.evaluate(f"{focused}.ariaLabel") == f"Remove {title}"
    press("Enter")
    shown(page, [], "history")
    assert page.evaluate(f"{focused}.id") == "search"
    # A recommendation is taken in turn, and the focus stays in the list.
    add = page.get_by_role("button", name="Add").last
    add.focus()
    press("Enter")
    shown(page, expected(bundle, [])[-1:], "history")
    page.wait_for_function(f"() => {focused}.className === 'add'")
    # What matches nothing is said; Escape closes and empties.
    field.focus()
    page.keyboard.type("zzz")
    assert page.get_by_role("status").inner_text() == "No title matches."
    press("Escape")
    press("Escape")
    assert field.input_value() == ""
    press("Backspace")
    shown(page, [], "history")


def refresh(bundle: Path, name: str, content: bytes) -> None:
    """Replaces a file and makes the digest fit, as a careless script would."""
    (bundle / name).write_bytes(content)
    config = json.loads((bundle / "config.json").read_text())
    config["files"][name] = hashlib.sha256(content).hexdigest()
    (bundle / "config.json").write_text(json.dumps(config))


def truncated_model(bundle: Path, other: Path) -> None:
    content = (bundle / "model.tflite").read_bytes()
    (bundle / "model.tflite").write_bytes(content[: len(content) // 2])


def other_vocabulary(bundle: Path, other: Path) -> None:
    text = (other / "vocabulary.json").read_text()
    (bundle / "vocabulary.json").write_text(text.replace("Title 07", "X"))


def not_a_model(bundle: Path, other: Path) -> None:
    refresh(bundle, "model.tflite", b"\x1c\0\0\0TFL3" + bytes(64))


def other_model(bundle: Path, other: Path) -> None:
    content = (other / "model.tflite").read_bytes()
    refresh(bundle, "model.tflite", content)


def reordered_vocabulary(bundle: Path, other: Path) -> None:
    vocabulary = json.loads((bundle / "vocabulary.json").read_text())
    vocabulary["ids"] = ["", "", *vocabulary["ids"][:1:-1]]
    refresh(bundle, "vocabulary.json", json.dumps(vocabulary).encode())


def broken_config(bundle: Path, other: Path) -> None:
    (bundle / "config.json").write_text('{"files": {')


@pytest.mark.browser
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncated_model, "“model.tflite” is damaged, or belongs to another"),
        (other_vocabulary, "“vocabulary.json” is damaged, or belongs to"),
        (not_a_model, "“model.tflite” is not a model this browser can run"),
        (other_model, "does not answer as its bundle says it must"),
        (reordered_vocabulary, "titles are not those that the model was made"),
        (broken_config, "“config.json” is damaged"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bad_bundle_is_explained(
    visit: Callable[..., Any],
    bundles: dict[str, Path],
    tmp_path: Path,
    damage: Callable[[Path, Path], None],
    said: str,
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundles["int8"], copy)
    damage(copy, bundles["float32"])
    page = visit(copy)
    alert = page.get_by_role("alert")
    assert said in alert.inner_text()
    assert "Copy the whole bundle folder again" in alert.inner_text()
    assert page.locator("main").is_hidden()


@pytest.mark.browser
def test_the_answer_of_a_server_stands_beside(
    visit: Callable[..., Any], bundles: dict[str, Path]
) -> None:
    bundle = bundles["int8"]
    mine = expected(bundle, ["i07"])
    answer = [mine[3], "unheard of", mine[0]]
    with model_server(answer) as (address, asked):
        page = visit(bundle, server=address)
        page.wait_for_selector("#server:not([hidden])")
        pick(page, "title 07")
        shown(page, answer, "server-results")
        page.wait_for_selector("#agreement:not([hidden])")
        inputs = asked[-1]["inputs"]
        # A number that is missing is none, not 0.
        assert math.isnan(inputs.pop("context_hour")[0])
        assert inputs == {"history": [["i07"]], "user_id": [""]}
        assert "2 of 3 titles are in both" in page.inner_text("#agreement")
        # Then it is not only this device.
        assert "the server is sent your picks" in page.inner_text("#runtime")


@pytest.mark.browser
def test_text_is_legible_in_light_and_dark(
    visit: Callable[..., Any], bundles: dict[str, Path]
) -> None:
    pairs = ["ink card", "soft card", "soft paper", "accent tint"]
    pairs += ["accent accent-ink", "good good-tint", "bad bad-tint"]
    papers = set()
    page = visit(bundles["int8"])
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours = page.evaluate(
            """(names) => Object.fromEntries(names.map((name) => [name,
              getComputedStyle(document.documentElement)
                .getPropertyValue(`--${name}`).trim()]))""",
            sorted({name for pair in pairs for name in pair.split()}),
        )
        papers.add(colours["paper"])
        for pair in pairs:
            one, two = (colours[name] for name in pair.split())
            found = chromium.contrast(one, two)
            assert found >= 4.5, (scheme, pair, found)
    assert len(papers) == 2
