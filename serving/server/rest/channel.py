"""One HTTP connection, and what all of them together may hold.

Callers that open connections, or begin to send, and never end must not keep
others out. Where room is short, whoever has kept the server waiting longest
is let go; a request that is complete is answered.
"""

import resource
import time
from typing import Any

from waitress import channel, parser, task, utilities
from waitress.server import BaseWSGIServer

from serving.server.rest import text as json_text

# Connections; a new one takes the place of one that waits.
MAX_CONNECTIONS = 1000
# Bytes that all requests together may have sent and not have answered. They
# stay in memory: a file would be on whatever small volume /tmp is.
MAX_HELD_BYTES = 2**28
# Bytes of answers that all callers together may leave unread, and that one may
# who asks on meanwhile.
MAX_UNREAD_BYTES, _MOST_UNREAD_BYTES = 2**28, 2**24
# Requests and answers below this are not worth adding up.
_SMALL_BYTES = 2**17


class Unavailable(utilities.Error):
    """Answers a request for whose body there is no room, or no time."""

    code = 503
    reason = "Service Unavailable"


class Refusal(task.ErrorTask):
    """Waitress' answer to what is no request, as the API's callers read it."""

    def execute(self) -> None:
        """Sends it."""
        error = self.request.error
        text = json_text.error(f"{error.reason}: {error.body}")
        body = text.encode("utf-8", "replace")
        self.status = f"{error.code} {error.reason}"
        self.response_headers.append(("Content-Type", "application/json"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Channel(channel.HTTPChannel):
    """A connection.

    Attributes:
        since: When it was opened or last answered, of the monotonic clock.
        held: Bytes that it has sent since then.
    """

    error_task_class = Refusal

    def __init__(
        self, server: BaseWSGIServer, *arguments: Any, **options: Any
    ) -> None:
        self.since = time.monotonic()
        self.held = 0
        # Each takes a file, of which the process may have few.
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if len(server.active_channels) >= min(MAX_CONNECTIONS, files // 2):
            for one in _waiting(server)[-1:]:
                one.handle_close()
        super().__init__(server, *arguments, **options)

    def received(self, data: bytes) -> bool:
        """Takes what has come; frees room for it where there is none."""
        self.held += len(data)
        if self.held > _SMALL_BYTES and _held(self.server) > MAX_HELD_BYTES:
            waiting = [one for one in _waiting(self.server) if one.held]
            while waiting and _held(self.server) > MAX_HELD_BYTES:
                waiting.pop().handle_close()
            if not self.connected:
                return False
            if _held(self.server) > MAX_HELD_BYTES:
                return self._refuse()
        return super().received(data)

    def _refuse(self) -> bool:
        with self.requests_lock:
            request: parser.HTTPRequestParser = (
                self.request or self.parser_class(self.adj)
            )
            request.error = Unavailable(
                "other requests take the room for bodies"
            )
            request.completed = True
            self.request: parser.HTTPRequestParser | None = None
            self.requests.append(request)
            if len(self.requests) == 1:
                self.server.add_task(self)
        return True

    def service(self) -> None:
        """Answers one request; called in a thread."""
        super().service()
        if not self.requests:
            self.since, self.held = time.monotonic(), 0
        elif self.total_outbufs_len > _MOST_UNREAD_BYTES:
            self._let_go()

    def write_soon(self, data: bytes) -> int:
        """Takes a part of an answer; frees room for it where there is none."""
        if len(data) > _SMALL_BYTES:
            others = sorted(
                (
                    one
                    for one in list(self.server.active_channels.values())
                    if one is not self and one.total_outbufs_len
                ),
                key=lambda one: one.last_activity,
            )
            unread = len(data) + sum(one.total_outbufs_len for one in others)
            for one in others:
                if unread <= MAX_UNREAD_BYTES:
                    break
                unread -= one.total_outbufs_len
                one._let_go()
        taken: int = super().write_soon(data)
        return taken

    def _let_go(self) -> None:
        """Closes the connection, on the thread of the port."""
        self.server.trigger.pull_trigger(self.handle_close)

    def handle_close(self) -> None:
        """Closes the connection."""
        self.held = 0
        super().handle_close()


def _waiting(server: BaseWSGIServer) -> list[Channel]:
    """Connections without a complete request, the longest wait last."""
    found = [
        one
        for one in list(server.active_channels.values())
        if not (one.requests or one.total_outbufs_len)
    ]
    return sorted(found, key=lambda one: one.since, reverse=True)


def _held(server: BaseWSGIServer) -> int:
    return sum(one.held for one in list(server.active_channels.values()))
