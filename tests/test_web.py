import contextlib
import hashlib
import http.client
import http.server
import json
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models  # noqa: F401  (selects Keras 2)
from models.student import Student
from models.student_config import StudentConfig
from pipeline import ondevice_bundle
from serving import ondevice
from serving.errors import ServingError
from serving.web import site as sites
from serving.web.__main__ import main
from serving.web.site import Site

ROWS, LENGTH = 60, 5
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def make(seed: int) -> Student:
    # More than the page shows.
    config = StudentConfig(
        encoder="attention", history_length=LENGTH, num_recommendations=14
    )
    student = Student(config, ROWS)
    student(np.zeros([1, LENGTH], np.int32))
    random = np.random.default_rng(seed)
    student.set_weights(
        [
            random.normal(0, 0.3, weight.shape).astype(np.float32)
            for weight in student.get_weights()
        ]
    )
    return student


def write(directory: Path, seed: int, precision: Any) -> Path:
    rows = range(2, ROWS)
    ondevice_bundle.write(
        make(seed),
        ["", "", *(f"i{row:02d}" for row in rows)],
        ["", "", *(f"Title {row:02d} of Many" for row in rows)],
        directory,
        precision,
        counts=[0, 0, *(row % 7 for row in rows)],
        features={"genres": [[], [], *([f"g{row % 5}"] for row in rows)]},
    )
    return directory


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("web")
    return {
        "int8": write(folder / "int8", 3, "int8"),
        "float32": write(folder / "float32", 4, "float32"),
    }


@contextlib.contextmanager
def running(server: http.server.HTTPServer) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in for npm's folder, with a file beside it to steal."""
    folder = tmp_path_factory.mktemp("npm")
    core = folder / "node_modules" / "@litertjs" / "core"
    (core / "dist").mkdir(parents=True)
    (core / "dist" / "index.js").write_text("export {};")
    (core / "wasm").mkdir()
    (core / "wasm" / "litert.wasm").write_bytes(b"\0asm")
    (folder / "secret.json").write_text("{}")
    return folder / "node_modules"


@pytest.fixture(scope="module")
def site(bundles: dict[str, Path], packages: Path) -> Iterator[Site]:
    with running(Site(bundles["int8"], packages=packages)) as server:
        yield server


def ask(
    site: Site, path: str, method: str = "GET", body: str = "", **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(
        "127.0.0.1", site.server_port, timeout=5
    )
    try:
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/bundle/config.json", "application/json"),
        ("/bundle/model.tflite", "application/octet-stream"),
        ("/packages/@litertjs/core/wasm/litert.wasm", "application/wasm"),
    ],
)
def test_files_are_served_with_their_type_and_nothing_from_elsewhere(
    site: Site, path: str, kind: str
) -> None:
    status, headers, content = ask(site, path)
    assert (status, headers["Content-Type"]) == (200, kind)
    assert int(headers["Content-Length"]) == len(content) > 0
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert "connect-src 'self';" in policy
    assert "unsafe-inline" not in policy and "http" not in policy
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"


@pytest.mark.parametrize(
    "path",
    [
        "/site.py",
        "/package.json",
        "/bundle/../config.json",
        "/bundle/README.md",
        "/packages/../secret.json",
        "/packages/@litertjs/../../secret.json",
        "/packages/@litertjs/core/dist",
        "//etc/passwd",
    ],
)
def test_what_the_page_does_not_need_is_not_served(
    site: Site, path: str
) -> None:
    assert ask(site, path)[0] == 404


def test_another_name_of_this_machine_is_refused(site: Site) -> None:
    assert ask(site, "/", Host="rebound.example")[0] == 403
    local = f"127.0.0.1:{site.server_port}"
    foreign = {"Host": local, "Origin": "http://elsewhere.example"}
    path = "/v1/models/recommender:predict"
    assert ask(site, path, "POST", "{}", **foreign)[0] == 403
    assert ask(site, "/", Host=local)[0] == 200


def test_without_a_server_nothing_is_passed_on(site: Site) -> None:
    assert ask(site, "/v1/models/recommender/metadata")[0] == 204
    assert ask(site, "/v1/models/other:predict", "POST", "{}")[0] == 404


def test_what_is_missing_is_named(
    bundles: dict[str, Path],
    packages: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ServingError, match="Run `npm ci`"):
        Site(bundles["int8"], packages=tmp_path)
    with pytest.raises(ServingError, match="must hold `config.json`"):
        Site(tmp_path, packages=packages)
    with running(Site(bundles["int8"], packages=packages)) as taken:
        with pytest.raises(ServingError, match="`port` must be free"):
            Site(bundles["int8"], taken.server_port, packages=packages)
    assert main(["--serving", str(tmp_path)]) == 1
    assert "web: An on-device bundle must be published" in (
        capsys.readouterr().err
    )


class ModelServer(http.server.BaseHTTPRequestHandler):
    """The REST answers of a server, with two of the page's items."""

    asked: list[dict[str, Any]]
    answer: list[str]

    def do_GET(self) -> None:
        inputs = {
            "history": {"dtype": "DT_STRING", "tensor_shape": shape(2)},
            "user_id": {"dtype": "DT_STRING", "tensor_shape": shape(1)},
            "context_hour": {"dtype": "DT_FLOAT", "tensor_shape": shape(1)},
        }
        signatures = {"serving_default": {"inputs": inputs}}
        self.send(
            {"metadata": {"signature_def": {"signature_def": signatures}}}
        )

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.asked.append(json.loads(self.rfile.read(length)))
        # Another answer before anything is picked.
        empty = self.asked[-1]["inputs"].get("history") == [[""]]
        items = [] if empty else self.answer
        self.send({"outputs": {"item_ids": [items], "scores": [[1.0]]}})

    def send(self, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


def shape(rank: int) -> dict[str, Any]:
    return {"dim": [{"size": "-1", "name": ""}] * rank}


@contextlib.contextmanager
def model_server(answer: list[str]) -> Iterator[tuple[str, list[Any]]]:
    asked: list[Any] = []
    handler = type(
        "Handler", (ModelServer,), {"asked": asked, "answer": answer}
    )
    with running(http.server.HTTPServer(("127.0.0.1", 0), handler)) as server:
        yield f"127.0.0.1:{server.server_port}", asked


def test_requests_are_passed_to_the_server(
    bundles: dict[str, Path], packages: Path
) -> None:
    path = "/v1/models/recommender:predict"
    with model_server(["i02"]) as (address, asked):
        site = Site(bundles["int8"], server=address, packages=packages)
        with running(site):
            _, _, content = ask(site, path, "POST", '{"inputs": {}}')
            assert json.loads(content)["outputs"]["item_ids"] == [["i02"]]
            assert asked == [{"inputs": {}}]
            large = {"Content-Length": str(2**21)}
            assert ask(site, path, "POST", "x", **large)[0] == 413
    with running(Site(bundles["int8"], server=address, packages=packages)) as s:
        assert ask(s, path, "POST", "{}")[0] == 502


# From here on in a browser.


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    library = pytest.importorskip(
        "playwright.sync_api", reason="playwright is absent: make setup-dev"
    )
    if not (sites.PACKAGES / "@litertjs" / "core").is_dir():
        pytest.skip("Node packages are absent: npm ci in serving/web")
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not found:
        pytest.skip("Chromium is absent: apt-get install chromium")
    with library.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox"]
        )
        yield started
        started.close()


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
    assert chosen.get_attribute("id") == active == "option-1"
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
        assert asked[-1] == {
            "inputs": {
                "history": [["i07"]],
                "user_id": [""],
                "context_hour": [0],
            }
        }
        assert "2 of 3 titles are in both" in page.inner_text("#agreement")
        # Then it is not only this device.
        assert "the server is sent your picks" in page.inner_text("#runtime")


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in parts
    ]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


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
            one, two = (luminance(colours[name]) for name in pair.split())
            contrast = (max(one, two) + 0.05) / (min(one, two) + 0.05)
            assert contrast >= 4.5, (scheme, pair, contrast)
    assert len(papers) == 2
