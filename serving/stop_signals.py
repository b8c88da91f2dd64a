"""SIGTERM and Ctrl-C, as something that the main thread waits for.

Python runs a signal's handler in the main thread, between two instructions.
Where the signal comes just before that thread falls asleep in `Event.wait`,
or reaches another thread, the sleeper is not woken and the handler never
runs; and a handler that sets the event may wait for a lock which the thread
that it interrupted holds. So the handlers do nothing here: the signal itself
writes to a socket (`signal.set_wakeup_fd`), which nobody can miss.
"""

import select
import signal
import socket


class StopSignals:
    """Takes the signals that end a program; made once, in the main thread."""

    def __init__(self) -> None:
        self._told, self._write = socket.socketpair()
        self._write.setblocking(False)
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: None)

    def wait(self, seconds: float | None = None) -> bool:
        """Waits for the first one, at most `seconds`; whether it has come."""
        # It is left unread: once told to stop, always told.
        readable, _, _ = select.select([self._told], [], [], seconds)
        return bool(readable)

    def is_set(self) -> bool:
        """Whether one has come."""
        return self.wait(0)
