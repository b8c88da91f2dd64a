"""Serves the page, the bundle and LiteRT.js to this machine alone.

The answers forbid the page to load from or send to anywhere else. With the
address of a model server, two of its paths are passed on, so that the page can
show both answers without asking another origin.
"""

import base64
import hashlib
import http.client
import http.server
import re
import time
import urllib.request
from pathlib import Path

from serving.errors import ModelNotFound, ServingError
from serving.ondevice import bundle as ondevice

_HERE = Path(__file__).resolve().parent
PACKAGES = _HERE / "node_modules"
_PAGE = "index.html"
_FILES = (_PAGE, "style.css", "app.js", "model.js", "picker.js", "server.js")
_BUNDLE = (
    ondevice.CONFIG,
    ondevice.MODEL,
    ondevice.VOCABULARY,
    ondevice.GOLDEN,
)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".wasm": "application/wasm",
    ".tflite": "application/octet-stream",
}
_METADATA = "/v1/models/recommender/metadata"
_PREDICT = "/v1/models/recommender:predict"
_MAX_BODY_BYTES = 2**20
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


class Site(http.server.ThreadingHTTPServer):
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

    daemon_threads = True

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
        self.headers = _headers((_HERE / _PAGE).read_text(encoding="utf-8"))
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise ServingError(
                f"`port` must be free. Received: {port} ({error.strerror}). "
                "Choose another one, or 0 for any.",
                "UNAVAILABLE",
            ) from error
        self.url = f"http://127.0.0.1:{self.server_port}/"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Of a caller that says nothing more.
    timeout = 60
    server: Site

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if not self._is_local():
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
            self._send(404, b"Not found\n", "text/plain; charset=utf-8")
            return
        self._send(200, content, _TYPES[file.suffix])

    do_HEAD = do_GET

    def do_POST(self) -> None:
        # A body that is not read would be taken for the next request.
        self.close_connection = True
        if not self._is_local():
            return
        length = self.headers.get("Content-Length", "")
        if self.path != _PREDICT or not re.fullmatch("[0-9]{1,9}", length):
            self._send(404, b"Not found\n", "text/plain; charset=utf-8")
        elif int(length) > _MAX_BODY_BYTES:
            self._send(413, b'{"error": "body too large"}', _TYPES[".json"])
        else:
            self._forward(self.rfile.read(int(length)))

    def log_message(self, format: str, *args: object) -> None:
        """What is asked for stays on the device, and out of its logs."""

    def _is_local(self) -> bool:
        """Whether the page's own name was used.

        Another name that resolves to this machine would make a foreign page
        this one's origin.
        """
        port = self.server.server_port
        host = self.headers.get("Host", "")
        origin = self.headers.get("Origin", f"http://{host}")
        local = (f"127.0.0.1:{port}", f"localhost:{port}")
        if host in local and origin == f"http://{host}":
            return True
        self.close_connection = True
        self._send(403, b"Forbidden\n", "text/plain; charset=utf-8")
        return False

    def _package(self, path: str) -> Path | None:
        if not path.startswith("/packages/@litertjs/"):
            return None
        root = self.server.packages / "@litertjs"
        file = (self.server.packages / path[len("/packages/") :]).resolve()
        inside = file.is_relative_to(root) and file.suffix in _TYPES
        return file if inside and file.is_file() else None

    def _forward(self, body: bytes | None) -> None:
        if not self.server.model_server:
            # Not an error: the page asks whether there is one.
            self._send(204, b"", _TYPES[".json"])
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
        self._send(status, content, _TYPES[".json"])

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _bounded(response: http.client.HTTPResponse) -> bytes:
    """An answer, if it is there in time and no larger than one can be."""
    content, end = b"", time.monotonic() + _TIMEOUT_SECONDS
    while part := response.read1(2**16):
        content += part
        if len(content) > _MAX_BODY_BYTES or time.monotonic() > end:
            raise OSError("the answer has no end")
    if response.length:
        raise http.client.IncompleteRead(content, response.length)
    return content


def _headers(page: str) -> dict[str, str]:
    """What the page may load: itself, and the one script inside it."""
    found = re.search('<script type="importmap">(.*?)</script>', page, re.S)
    inside = found.group(1) if found else ""
    digest = hashlib.sha256(inside.encode()).digest()
    script = f"'sha256-{base64.b64encode(digest).decode()}'"
    return {
        "Content-Security-Policy": (
            "default-src 'none'; "
            f"script-src 'self' 'wasm-unsafe-eval' {script}; "
            "style-src 'self'; img-src 'self' data:; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        # Isolation makes the page's clock fine enough for microseconds.
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Embedder-Policy": "require-corp",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }
