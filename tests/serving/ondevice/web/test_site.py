"""What the page's server gives out, and to whom."""

import contextlib
import http.client
import json
import socketserver
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.errors import ServingError
from serving.ondevice.web.__main__ import main
from serving.ondevice.web.site import Site
from tests.support.web_cases import model_server, running, write_both


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_both(tmp_path_factory.mktemp("web"))


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


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nLocation: /v1/models/recommender/metadata\r\n"
        b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2**21,
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort",
        b"",
    ],
    ids=["redirect", "endless", "no HTTP", "cut off", "nothing"],
)
def test_what_no_model_server_answers_is_not_passed_on(
    bundles: dict[str, Path], packages: Path, answer: bytes
) -> None:
    asked = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            asked.append(self.request.recv(65536))
            with contextlib.suppress(OSError):
                self.request.sendall(answer)

    server = socketserver.TCPServer(("127.0.0.1", 0), Handler)
    with running(server):
        address = f"127.0.0.1:{server.server_address[1]}"
        site = Site(bundles["int8"], server=address, packages=packages)
        with running(site):
            status, _, content = ask(site, "/v1/models/recommender/metadata")
    assert (status, list(json.loads(content))) == (502, ["error"])
    assert len(asked) == 1
