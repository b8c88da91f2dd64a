"""Whether the server lives and whether it is ready, as probes ask over HTTP.

`/healthz`: the process answers and the loops that follow configs, versions
and models run. Load never makes it fail, so that nobody restarts a server
because it is busy. `/readyz`: every model of the config has a version that
answers and the server is not stopping; otherwise 503 and what is missing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import filterfalse

from serving.server.lifecycle.catalogue import Core

LIVE = "/healthz"
READY = "/readyz"
PATHS = frozenset({LIVE, READY})


@dataclass(frozen=True)
class Health:
    """Answers probes.

    Attributes:
        ended_loops: Names of the server's own loops that have ended.
    """

    core: Core
    is_stopping: Callable[[], bool]
    ended_loops: Callable[[], list[str]]

    def answer(self, path: str) -> tuple[int, str]:
        """HTTP status and text for one of `PATHS`."""
        trouble = self._alive() if path == LIVE else self._unready()
        return (503, f"{trouble}\n") if trouble else (200, "ok\n")

    def _alive(self) -> str:
        ended = [] if self.is_stopping() else self.ended_loops()
        return f"loops have ended: {', '.join(ended)}" if ended else ""

    def _unready(self) -> str:
        if self.is_stopping():
            return "the server is stopping"
        if not self.core.names:
            return "no models are configured"
        is_available = self.core.manager.is_available
        missing = sorted(filterfalse(is_available, self.core.names))
        listed = ", ".join(missing)
        return f"no version is available of {listed}" if missing else ""
