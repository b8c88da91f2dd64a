"""Pages for the browser of this machine alone: what their servers share.

A page answers under its own name only, and its policy forbids it to load from
or send to anywhere else.
"""

import http.server
import json
import re

from serving.errors import ServingError

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".tflite": "application/octet-stream",
    ".protoset": "application/octet-stream",
}
MAX_BODY_BYTES = 2**20


def headers(script: str = "") -> dict[str, str]:
    """Of every answer: the page may load itself, and nothing inline.

    Args:
        script: Further sources of scripts.
    """
    scripts = " ".join(filter(None, ("'self'", script)))
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; script-src {scripts}; "
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


class PageServer(http.server.ThreadingHTTPServer):
    """A page's server, on 127.0.0.1.

    Args:
        port: 0 takes a free one.
        handler: Answers the requests.
        headers: Of every answer.

    Raises:
        ServingError: If the port is taken.
    """

    daemon_threads = True

    def __init__(
        self,
        port: int,
        handler: type["PageHandler"],
        headers: dict[str, str],
    ) -> None:
        self.headers = headers
        try:
            super().__init__(("127.0.0.1", port), handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise ServingError(
                f"`port` must be free. Received: {port} ({why}). "
                "Choose another one, or 0 for any.",
                "UNAVAILABLE",
            ) from error
        self.url = f"http://127.0.0.1:{self.server_port}/"


class PageHandler(http.server.BaseHTTPRequestHandler):
    """Refuses foreign names; adds the headers of every answer."""

    protocol_version = "HTTP/1.1"
    # Of a caller that says nothing more.
    timeout = 60
    server: PageServer

    def log_message(self, format: str, *args: object) -> None:
        """What is asked for stays on the device, and out of its logs."""

    def is_local(self) -> bool:
        """Whether the page's own name was used; answers where it was not.

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
        self.send(403, b"Forbidden\n", TYPES[".txt"])
        return False

    def posted(self, path: str) -> bytes | None:
        """The body that was sent to a path; None once that is refused."""
        # A body that is not read would be taken for the next request.
        self.close_connection = True
        if not self.is_local():
            return None
        length = self.headers.get("Content-Length", "")
        if self.path != path or not re.fullmatch("[0-9]{1,9}", length):
            self.refuse(404, "Nothing takes this here.")
        elif int(length) > MAX_BODY_BYTES:
            self.refuse(413, f"A body may have {MAX_BODY_BYTES} bytes.")
        else:
            return self.rfile.read(int(length))
        return None

    def refuse(self, status: int, error: str) -> None:
        """Answers with why there is no answer, as JSON."""
        content = json.dumps({"error": error}).encode()
        self.send(status, content, TYPES[".json"])

    def send(self, status: int, content: bytes, kind: str) -> None:
        """Answers with all headers."""
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
