"""Whether the server lives and whether it is ready, as probes ask over HTTP.

`/healthz`: the process answers and the loops that follow configs, versions
and models run. Load never makes it fail, so that nobody restarts a server
because it is busy. `/readyz`: every model of the config has a version that
answers and the server is not stopping; otherwise 503 and what is missing.
"""

from collections.abc import Callable

from serving.server.lifecycle.catalogue import Core

LIVE = "/healthz"
READY = "/readyz"
PATHS = frozenset({LIVE, READY})


class Health:
    """Answers probes.

    Args:
        core: The models.
        is_stopping: Whether the server was told to end.
        ended_loops: Names of the server's own loops that have ended.
    """

    def __init__(
        self,
        core: Core,
        is_stopping: Callable[[], bool],
        ended_loops: Callable[[], list[str]],
    ) -> None:
        self._core = core
        self._is_stopping = is_stopping
        self._ended_loops = ended_loops

    def answer(self, path: str) -> tuple[int, str]:
        """HTTP status and text for one of `PATHS`."""
        trouble = self._alive() if path == LIVE else self._unready()
        return (503, f"{trouble}\n") if trouble else (200, "ok\n")

    def _alive(self) -> str:
        if self._is_stopping():
            return ""
        ended = self._ended_loops()
        return f"loops have ended: {', '.join(ended)}" if ended else ""

    def _unready(self) -> str:
        if self._is_stopping():
            return "the server is stopping"
        names = self._core.names
        if not names:
            return "no models are configured"
        missing = sorted(
            name for name in names if not self._core.is_available(name)
        )
        if not missing:
            return ""
        return f"no version is available of {', '.join(missing)}"
