"""Which thread answers an HTTP request.

Requests share a pool of threads; probes have a thread of their own, so that a
busy server still tells that it lives. While the server stops, that thread
also refuses what comes late, and the pool ends what it has.
"""

import threading
import time

from waitress import task

from serving.server import health
from serving.server.rest.channel import Channel, Unavailable


class Dispatcher(task.ThreadedTaskDispatcher):
    """Hands connections with a complete request to threads."""

    def __init__(self, threads: int) -> None:
        super().__init__()
        self.set_thread_count(threads)
        self._probes = task.ThreadedTaskDispatcher()
        self._probes.set_thread_count(1)
        # Nothing is queued once it has been said that nothing more is.
        self._gate = threading.Lock()
        self._is_draining = False

    def add_task(self, task: Channel) -> None:
        """Queues a connection whose first request is to be answered."""
        request = task.requests[0]
        # What is no request at all has an error instead of a path.
        is_probe = not request.error and request.path in health.PATHS
        with self._gate:
            if not (is_probe or self._is_draining):
                super().add_task(task)
                return
        if not is_probe:
            late = Unavailable("The server is stopping")
            request.error = request.error or late
        self._probes.add_task(task)

    def drain(self, deadline: float) -> None:
        """Refuses new requests and waits for those it has.

        What is left at `deadline`, of the monotonic clock, is cut off.
        """
        with self._gate:
            self._is_draining = True
        # The threads end as soon as they are told to, whatever is queued.
        while self.queue and time.monotonic() < deadline:
            time.sleep(0.01)
        self.shutdown(
            cancel_pending=True, timeout=max(0.0, deadline - time.monotonic())
        )

    def close(self) -> None:
        """Ends the thread of the probes."""
        self._probes.shutdown(cancel_pending=True, timeout=1.0)
