"""Serves the page, the bundle and LiteRT.js to this machine alone.

The answers forbid the page to load from or send to anywhere else. With the
address of a model server, two of its paths are passed on, so that the page can
show both answers without asking another origin.
"""

import base64
import hashlib
import http.client
import re
import time
import urllib.request
from pathlib import Path

from serving import pages
from serving.errors import ModelNotFound
from serving.ondevice import bundle as ondevice

_HERE = Path(__file__).resolve().parent
PACKAGES = _HERE / "node_modules"
_PAGE = "index.html"
_SCRIPTS = ("app.js", "model.js", "parts.js", "picker.js", "server.js")
_FILES = (_PAGE, "style.css", *_SCRIPTS)
_BUNDLE = (
    ondevice.CONFIG,
    ondevice.MODEL,
    ondevice.VOCABULARY,
    ondevice.GOLDEN,
)
_METADATA = "/v1/models/recommender/metadata"
_PREDICT = "/v1/models/recommender:predict"
_TIMEOUT_SECONDS = 5.0


class _Answers(urllib.request.HTTPErrorProcessor):
    """Takes every answer as it is: a redirect could lead anywhere."""

    def http_response(
        self,
        request: urllib.request.Request,
        response: http.client.HTTPResponse,
    ) -> http.client.HTTPResponse:
        return response


# The machine's proxy settings are for other addresses.
_OPENER = urllib.request.build_opener(
    urllib.request.ProxyHandler({}), _Answers()
)


class Site(pages.PageServer):
    """The page's server, on 127.0.0.1.

    Args:
        bundle: The bundle's folder. What is wrong with it the page says.
        port: 0 takes a free one.
        server: REST address of a model server, such as 127.0.0.1:8501.
        packages: Where npm put its packages.

    Raises:
        ServingError: If npm's packages or the bundle are absent, or the port
            is taken.
    """

    def __init__(
        self,
        bundle: Path,
        port: int = 0,
        server: str = "",
        packages: Path = PACKAGES,
    ) -> None:
        if not (packages / "@litertjs" / "core" / "dist").is_dir():
            raise ModelNotFound(
                "The page needs LiteRT.js. Received: no such package (from "
                f"{packages}). Run `npm ci` in {_HERE}."
            )
        if not (bundle / ondevice.CONFIG).is_file():
            raise ModelNotFound(
                f"A bundle must hold `{ondevice.CONFIG}`. Received: a folder "
                f"without it (from {bundle}). Run `make retrain`, or name "
                "the folder of a version."
            )
        self.files = {f"/{name}": _HERE / name for name in _FILES}
        self.files["/"] = self.files[f"/{_PAGE}"]
        self.files |= {f"/bundle/{name}": bundle / name for name in _BUNDLE}
        self.packages = packages.resolve()
        self.model_server = server
        page = (_HERE / _PAGE).read_text(encoding="utf-8")
        super().__init__(port, _Handler, _headers(page))


class _Handler(pages.PageHandler):
    server: Site

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if not self.is_local():
            return
        if path == _METADATA:
            self._forward(None)
            return
        file = self.server.files.get(path) or self._package(path)
        try:
            content = file.read_bytes() if file else None
        except OSError:
            content = None
        if file is None or content is None:
            self.send(404, b"Not found\n", pages.TYPES[".txt"])
            return
        self.send(200, content, pages.TYPES[file.suffix])

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.posted(_PREDICT)
        if body is not None:
            self._forward(body)

    def _package(self, path: str) -> Path | None:
        if not path.startswith("/packages/@litertjs/"):
            return None
        root = self.server.packages / "@litertjs"
        file = (self.server.packages / path[len("/packages/") :]).resolve()
        inside = file.is_relative_to(root) and file.suffix in pages.TYPES
        return file if inside and file.is_file() else None

    def _forward(self, body: bytes | None) -> None:
        if not self.server.model_server:
            # Not an error: the page asks whether there is one.
            self.send(204, b"", pages.TYPES[".json"])
            return
        request = urllib.request.Request(
            f"http://{self.server.model_server}{self.path}",
            data=body,
            headers={"Content-Type": "application/json"},
        )
        try:
            with _OPENER.open(request, timeout=_TIMEOUT_SECONDS) as response:
                status, content = response.status, _bounded(response)
            if 300 <= status < 400:
                status, content = 502, b'{"error": "it redirects"}'
        except (OSError, http.client.HTTPException):
            status, content = 502, b'{"error": "it is down"}'
        self.send(status, content, pages.TYPES[".json"])


def _bounded(response: http.client.HTTPResponse) -> bytes:
    """An answer, if it is there in time and no larger than one can be."""
    content, end = b"", time.monotonic() + _TIMEOUT_SECONDS
    while part := response.read1(2**16):
        content += part
        if len(content) > pages.MAX_BODY_BYTES or time.monotonic() > end:
            raise OSError("the answer has no end")
    if response.length:
        raise http.client.IncompleteRead(content, response.length)
    return content


def _headers(page: str) -> dict[str, str]:
    """What the page may load: itself, and the one script inside it."""
    found = re.search('<script type="importmap">(.*?)</script>', page, re.S)
    inside = found.group(1) if found else ""
    digest = hashlib.sha256(inside.encode()).digest()
    inline = f"'sha256-{base64.b64encode(digest).decode()}'"
    return pages.headers(f"'wasm-unsafe-eval' {inline}")
