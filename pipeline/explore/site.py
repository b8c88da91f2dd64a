"""Serves the page and answers its questions, to this machine alone."""

import dataclasses
import json
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.tables.schema import DataError
from serving import pages
from serving.errors import InvalidRequest, ServingError
from serving.ondevice import web
from serving.wire import protoset

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from pipeline.explore.explorer import Explorer

_HERE = Path(__file__).resolve().parent / "page"
# The look, and the search as one types, are those of the other page.
_SHARED = Path(web.__file__).resolve().parent
_LISTS = "/api/lists"


class Site(pages.PageServer):
    """The page's server.

    Args:
        port: 0 takes a free one.

    Attributes:
        explorer: Answers; to be set before anybody asks.

    Raises:
        ServingError: If the port is taken.
    """

    explorer: "Explorer"

    def __init__(self, port: int = 0) -> None:
        self.files = {f"/{path.name}": path for path in _HERE.iterdir()}
        for name in ("style.css", "parts.js", "picker.js"):
            self.files[f"/shared/{name}"] = _SHARED / name
        self.files["/"] = self.files["/index.html"]
        super().__init__(port, _Handler, pages.headers())


class _Handler(pages.PageHandler):
    server: Site

    def do_GET(self) -> None:
        if not self.is_local():
            return
        path, _, query = self.path.partition("?")
        if path in self.server.files:
            file = self.server.files[path]
            self.send(200, file.read_bytes(), pages.TYPES[file.suffix])
        elif path == f"/{protoset.FILE}":
            self.send(200, protoset.protoset(), pages.TYPES[".protoset"])
        else:
            given = dict(urllib.parse.parse_qsl(query))
            self._answer(lambda: _asked(self.server.explorer, path, given))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.posted(_LISTS)
        if body is not None:
            self._answer(lambda: _lists(self.server.explorer, body))

    def _answer(self, ask: Callable[[], "DataclassInstance | None"]) -> None:
        """Sends an answer as JSON, or in one line why there is none."""
        try:
            found = ask()
        except (DataError, InvalidRequest) as error:
            self.refuse(400, str(error))
        except ServingError as error:
            self.refuse(502, str(error))
        else:
            if found is None:
                self.refuse(404, "No such question.")
            else:
                text = json.dumps(dataclasses.asdict(found), allow_nan=False)
                self.send(200, text.encode(), pages.TYPES[".json"])


def _asked(
    explorer: "Explorer", path: str, given: Mapping[str, str]
) -> "DataclassInstance | None":
    """The answer to a question of a path; None for an unknown one."""
    text = given.get("text", "")
    if path == "/api/about":
        return explorer.about()
    if path == "/api/state":
        return explorer.state()
    if path == "/api/search":
        return explorer.search(text)
    if path == "/api/values":
        return explorer.values(text)
    if path == "/api/users":
        return explorer.users(text)
    if path == "/api/user":
        return explorer.user(text)
    if path == "/api/similar":
        return explorer.similar(text)
    if path == "/api/map":
        return explorer.map
    return None


def _lists(explorer: "Explorer", body: bytes) -> "DataclassInstance":
    """Everybody's lists for a question in JSON.

    Raises:
        InvalidRequest: If it is none.
    """
    try:
        asked = json.loads(body)
    except ValueError:
        asked = None
    names = ("user_id", "history", "excluded_ids", "diversity", "filters")
    if not isinstance(asked, dict) or asked.keys() - set(names):
        raise InvalidRequest(
            f"A question must be a JSON object of {', '.join(names)}. "
            f"Received: {body[:100]!r}. Leave out what there is none of."
        )
    nothing: list[str] = []
    return explorer.lists(
        asked.get("user_id", ""),
        asked.get("history", nothing),
        asked.get("excluded_ids", nothing),
        asked.get("diversity", 0.0),
        asked.get("filters", {}),
    )
