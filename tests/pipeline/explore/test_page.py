"""The page in a browser; whatever its console calls an error fails a test."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.export import bundle
from tests.support import chromium, explorer_cases
from tests.support.fake_server import FakeServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]
FOCUSED = "document.activeElement"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium.started() as started:
        yield started


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens the page; `page.server` is the model server behind it."""
    with contextlib.ExitStack() as stack:
        errors: list[str] = []

        def opened(**options: Any) -> Any:
            site, server = stack.enter_context(
                explorer_cases.explored(tmp_path)
            )
            page = browser.new_page(**options)
            stack.callback(page.close)
            page.set_default_timeout(15_000)
            page.server, page.site, page.errors = server, site, errors
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on(
                "console",
                lambda said: (
                    errors.append(said.text)
                    if said.type in ("error", "warning")
                    else None
                ),
            )
            page.goto(site.url)
            page.wait_for_selector("body[data-state][data-map]")
            return page

        yield opened
        assert errors == []


def listed(page: Any, name: str) -> list[str]:
    return page.eval_on_selector_all(
        f"[data-column={name}] li", "all => all.map(li => li.dataset.item)"
    )


def shown(page: Any, history: list[str]) -> None:
    """Waits until the answer to a history is drawn."""
    page.wait_for_function(
        "history => JSON.stringify([...document.querySelectorAll("
        "'#history li')].map(li => li.dataset.item)) === "
        "JSON.stringify(history)",
        arg=history,
    )
    page.wait_for_selector("#lists:not([aria-busy])")


def add(page: Any, title: str) -> None:
    page.fill("#search", title)
    page.keyboard.press("Enter")


def test_lists_move_with_every_item_and_say_how(
    visit: Callable[..., Any],
) -> None:
    page = visit()
    best = [f"i{number}" for number in range(19, 11, -1)]
    assert listed(page, "retrieval") == best
    assert listed(page, "two_stage") == best[::-1]
    assert page.locator(".change").count() == 0
    add(page, "tale 18")
    shown(page, ["i18"])
    assert listed(page, "two_stage") == [
        f"i{number}" for number in (11, 12, 13, 14, 15, 16, 17, 19)
    ]
    line = "[data-column=two_stage] [data-item={}] small"
    assert page.inner_text(line.format("i11")) == "new retrieval 8th"
    assert page.inner_text(line.format("i12")) == "▼ 1 retrieval 7th"
    assert page.inner_text(line.format("i19")).startswith("retrieval 1st")
    moved = page.inner_text("#moved")
    assert "Added Tale 18 of Many." in moved and "1 after ranking" in moved
    assert "Tale 11 of Many is new, 1st after ranking: its vector" in moved
    said = page.inner_text("#live")
    assert said.startswith("Added Tale 18 of Many. 1 of the first ten are new")
    assert "First: Tale 11 of Many;" in said
    # An item of a list is added by a click, and taken back by its cross.
    page.get_by_role("button", name="Add Tale 11 of Many, 1st of After").click()
    shown(page, ["i18", "i11"])
    page.get_by_role("button", name="Remove Tale 18 of Many").click()
    shown(page, ["i11"])
    assert listed(page, "retrieval")[0:2] == ["i19", "i18"]
    page.get_by_role("button", name="Start over").click()
    shown(page, [])
    assert listed(page, "two_stage") == best[::-1]


def test_a_user_brings_a_history_and_what_came_next(
    visit: Callable[..., Any],
) -> None:
    page = visit()
    page.fill("#user", "u2")
    page.keyboard.press("Enter")
    shown(page, ["i0", "i1", "i5", "i10"])
    assert page.inner_text("#who") == "User u2"
    target = page.locator("[data-column=window_markov] .target")
    assert target.get_attribute("data-item") == "i2"
    assert page.inner_text("#targets-list") == "Tale 02 of Many"
    note = page.inner_text("#targets-note")
    assert "Tale 02 of Many stands" in note and "1st in window-Markov" in note
    # The question is in the address, where a user alone is enough.
    assert "#user=u2&item=i0&item=i1" in page.url
    page.goto(f"{page.site.url}#user=u2")
    page.reload()
    page.wait_for_selector("body[data-map]")
    shown(page, ["i0", "i1", "i5", "i10"])
    assert target.get_attribute("data-item") == "i2"
    page.fill("#user", "nobody")
    page.wait_for_selector("#users .none")
    assert page.inner_text("#users") == "No user matches"


def test_why_is_told_and_an_item_is_never_recommended(
    visit: Callable[..., Any],
) -> None:
    page = visit()
    add(page, "tale 00")
    shown(page, ["i0"])
    page.get_by_role("button", name="Why Tale 01 of Many").first.click()
    dialog = page.get_by_role("dialog", name="Tale 01 of Many")
    text = dialog.inner_text()
    assert "Its vector is closest to Tale 00 of Many (cosine 1.00)" in text
    assert "3 of the 3 users who took it took Tale 00 of Many as well" in text
    assert "by popularity: 3 interactions" in text
    assert "Not among the first items that retrieval returns" in text
    assert dialog.get_by_role("row", name="Window-Markov 1st").count() == 1
    page.wait_for_selector("#why-similar button")
    dialog.get_by_role("button", name="Never recommend").click()
    page.wait_for_selector("#excluded-list button")
    page.wait_for_function(
        "() => !document.querySelector('#lists [data-item=i1]')"
    )
    page.get_by_role("button", name="Allow again Tale 01 of Many").click()
    page.wait_for_selector("[data-column=window_markov] [data-item=i1]")


def test_a_filter_is_searched_kept_and_dropped(
    visit: Callable[..., Any],
) -> None:
    page = visit()
    odd = [f"i{number}" for number in range(19, 3, -2)]
    page.fill("#only", "parity o")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "() => !document.querySelector('#lists [data-item=i18]')"
    )
    assert listed(page, "retrieval") == odd
    assert "only=parity%3Dodd" in page.url
    page.reload()
    page.wait_for_selector("body[data-map]")
    shown(page, [])
    assert listed(page, "retrieval") == odd
    page.fill("#only", "tens 0")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "() => !document.querySelector('#lists [data-item=i11]')"
    )
    assert listed(page, "two_stage") == ["i1", "i3", "i5", "i7", "i9"]
    assert "every feature" in page.inner_text("#only-note")
    page.get_by_role("button", name="Remove the filter tens 0").click()
    page.wait_for_selector("#lists [data-item=i11]")
    page.get_by_role("button", name="Start over").click()
    page.wait_for_selector("#lists [data-item=i18]")
    assert page.inner_text("#only-note") == ""


def test_the_slider_asks_for_diversity(visit: Callable[..., Any]) -> None:
    page = visit()
    # More than ten: as many as the page asks for.
    page.evaluate("document.querySelector('#diversity').value = 0")
    slider = page.get_by_role("slider", name="Diversity")
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("[data-column=diverse]")
    page.wait_for_function(
        "() => document.querySelector('#request').textContent"
        ".includes('\"diversity\": [0.2')"
    )
    assert page.inner_text("#diversity-value") == "0.2"
    page.keyboard.press("Home")
    page.wait_for_selector("[data-column=diverse]", state="detached")
    assert page.inner_text("#diversity-value") == "off"


def test_the_keyboard_is_enough(visit: Callable[..., Any]) -> None:
    page = visit()
    press = page.keyboard.press
    press("Tab")
    assert page.evaluate(f"{FOCUSED}.textContent") == "Skip to search"
    press("Enter")
    assert page.evaluate(f"{FOCUSED}.id") == "search"
    page.keyboard.type("tale 1")
    # What was typed last has been answered, and drawn.
    page.wait_for_function(
        """() => {
          const all = [...document.querySelectorAll("#options [role=option]")];
          return all.length && all.every(o => o.textContent.includes("e 1"));
        }"""
    )
    press("ArrowDown")
    press("ArrowDown")
    chosen = page.locator("#options").get_by_role("option", selected=True)
    mine = chosen.get_attribute("id")
    field = page.get_by_role("combobox", name="Search titles to add")
    assert field.get_attribute("aria-activedescendant") == mine
    title = chosen.locator("b").inner_text()
    press("Enter")
    first = f"i{int(title.split()[1])}"
    shown(page, [first])
    # One item of all the lists is a stop of Tab; arrows go to the others.
    stops = page.locator("#lists button.item[tabindex='0']")
    assert stops.count() == 1
    stops.focus()
    press("ArrowDown")
    press("ArrowRight")
    label = page.evaluate(f"{FOCUSED}.ariaLabel")
    assert ", 2nd of After ranking" in label
    press("Tab")
    assert page.evaluate(f"{FOCUSED}.textContent") == "?"
    press("Enter")
    page.wait_for_selector("#why[open]")
    press("Escape")
    page.wait_for_selector("#why", state="hidden")
    assert page.evaluate(f"{FOCUSED}.textContent") == "?"
    press("Shift+Tab")
    press("Enter")
    second = f"i{int(label.split()[2])}"
    shown(page, [first, second])
    # The hand stays where it was, on what moved up.
    assert ", 2nd of After" in page.evaluate(f"{FOCUSED}.ariaLabel")
    page.get_by_role("button", name=f"Remove {title}").focus()
    press("Enter")
    shown(page, [second])
    assert page.evaluate(f"{FOCUSED}.ariaLabel").startswith("Remove Tale")
    # Lists are put away, and the request is read in three tongues.
    toggle = page.get_by_role("button", name="Popularity", exact=True)
    toggle.focus()
    press("Enter")
    assert page.locator("[data-column=popularity]").count() == 0
    assert page.evaluate(f"{FOCUSED}.ariaPressed") == "false"
    page.get_by_role("tab", name="curl", exact=True).focus()
    press("ArrowRight")
    assert "grpcurl -plaintext" in page.inner_text("#request")
    press("ArrowRight")
    assert "RecommenderClient" in page.inner_text("#request")
    # The map tells what is under the arrow keys.
    page.locator("#map").focus()
    press("ArrowRight")
    assert "by popularity" in page.inner_text("#map-point")
    press("Enter")
    assert page.wait_for_selector("#why[open]")


def test_a_lost_server_is_said_and_its_return_is_seen(
    visit: Callable[..., Any],
) -> None:
    page = visit()
    page.server.stop()
    add(page, "tale 00")
    page.wait_for_selector("#problem:not([hidden])")
    alert = page.get_by_role("alert").inner_text()
    assert "The model server does not answer." in alert
    assert "No answer." in page.inner_text("[data-column=two_stage]")
    assert listed(page, "window_markov")[0] == "i1"
    page.server.restart()
    page.wait_for_selector("body[data-state=ready]", timeout=30_000)
    assert page.locator("#problem").is_hidden()
    shown(page, ["i0"])
    assert listed(page, "retrieval")[0] == "i19"


def release(server: FakeServer) -> None:
    for model in explorer_cases.MODELS:
        server.versions[model] = [1, 2]
        server.labels[model] = {"stable": 1, "canary": 2}


def test_a_release_is_seen_and_labels_stand_beside(
    visit: Callable[..., Any],
) -> None:
    page = visit()
    assert "version 1" in page.inner_text("#server")
    release(page.server)
    page.wait_for_selector("[data-column=canary]", timeout=30_000)
    for label, version in (("stable", 1), ("canary", 2)):
        head = page.inner_text(f"[data-column={label}] .list-head")
        assert f"version {version}" in head
    assert "version 2" in page.inner_text("[data-column=retrieval] .list-head")


def test_another_bundle_than_was_evaluated_is_told(
    visit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visit()
    assert "Published here is" not in page.inner_text("#stages-note")
    monkeypatch.setattr(bundle, "live_bundle", lambda serving: "b0")
    page = visit()
    note = page.inner_text("#stages-note")
    assert "Published here is bundle b0" in note and "latest, b1" in note


def test_exact_search_is_shown_on_request(visit: Callable[..., Any]) -> None:
    page = visit()
    assert page.locator("[data-column=retrieval_exact]").count() == 0
    page.get_by_role("button", name="Exact search").click()
    assert listed(page, "retrieval_exact") == listed(page, "retrieval")
    note = page.inner_text("#stages-note")
    assert "finds 8 of the 8 items that exact search finds" in note


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_of_a_phone(
    visit: Callable[..., Any], scheme: str
) -> None:
    page = visit(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    add(page, "tale 00")
    shown(page, ["i0"])
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("button", name="Why").first.click()
    box = page.locator("#why").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390


def test_colours_of_the_map_stand_out_in_light_and_dark(
    visit: Callable[..., Any],
) -> None:
    page = visit()
    names = ["paper", *(f"colour-{place}" for place in range(1, 9))]
    papers = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        paper, *colours = page.evaluate(
            """(names) => names.map((name) =>
              getComputedStyle(document.documentElement)
                .getPropertyValue(`--${name}`).trim())""",
            names,
        )
        papers.add(paper)
        for colour in colours:
            assert chromium.contrast(paper, colour) >= 3.0, (scheme, colour)
    assert len(papers) == 2


def test_nothing_leaves_the_machine(visit: Callable[..., Any]) -> None:
    page = visit()
    blocked = page.evaluate(
        """async (url) => {
            try { await fetch(url, {mode: "no-cors"}); return false; }
            catch { return true; }
        }""",
        f"http://127.0.0.1:{page.server.port}/",
    )
    assert blocked
    # What was refused just now is the one thing the console may say.
    assert page.errors and all("Content Security" in e for e in page.errors)
    page.errors.clear()
