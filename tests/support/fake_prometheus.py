"""Prometheus' HTTP API with planted answers, on 127.0.0.1.

As a program it answers on port 9090 of every address, for containers to ask.
"""

import contextlib
import json
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class FakePrometheus:
    """What it says.

    Attributes:
        rules: Health of the alerting rules that have the label, by name.
        fired: Alerts that `last_over_time` finds.
        counted: Values of the other queries, by how they begin.
        status: Of every HTTP answer.
        body: Instead of an answer, if any.
        asked: The queries, in order.
    """

    rules: dict[str, str] = field(default_factory=lambda: {"ErrorRate": "ok"})
    fired: list[str] = field(default_factory=list)
    counted: dict[str, float] = field(
        default_factory=lambda: {"count(": 2, "sum(increase(": 5_000}
    )
    status: int = 200
    body: bytes = b""
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def answer(self, path: str) -> dict[str, Any]:
        """The data of an answer."""
        where, _, given = path.partition("?")
        parameters = dict(urllib.parse.parse_qsl(given, strict_parsing=True))
        if where == "/api/v1/rules":
            assert parameters == {"type": "alert"}
            other = {"name": "NoRun", "labels": {}, "health": "err"}
            rules = [
                {"name": name, "labels": {"trial": "ends"}, "health": health}
                for name, health in self.rules.items()
            ]
            return {"groups": [{"rules": [other, *rules]}]}
        assert where == "/api/v1/query"
        query = parameters["query"]
        self.asked.append(query)
        if query.startswith("last_over_time(ALERTS{"):
            rows = [({"alertname": name}, "1") for name in self.fired]
        else:
            rows = [
                ({}, str(value))
                for begin, value in self.counted.items()
                if query.startswith(begin)
            ]
        found = [{"metric": row, "value": [0, value]} for row, value in rows]
        return {"resultType": "vector", "result": found}


@contextlib.contextmanager
def running(host: str = "127.0.0.1", port: int = 0) -> Iterator[FakePrometheus]:
    """Serves it for the length of a block."""
    fake = FakePrometheus()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (
                fake.body
                or json.dumps(
                    {"status": "success", "data": fake.answer(self.path)}
                ).encode()
            )
            self.send_response(fake.status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((host, port), Handler) as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        thread.start()
        fake.address = f"http://{host}:{server.server_port}"
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with running("0.0.0.0", 9090):
        threading.Event().wait()
