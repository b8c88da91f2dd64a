"""What a forked process may do with clients.

gRPC carries its channels over a fork, but not while another thread is in a
call, and not when asyncio has used it, closed channels included: a question in
such a child, by an old client or a new one, may hang for ever. So the child is
told, and asks nothing.
"""

import os

from serving.errors import ServingError

# Questions and probes under way, and the asyncio client's class once it has
# asked, by identity; a set's methods need no lock, which a fork could leave
# locked.
_busy: set[int] = set()
_busy_at_fork: set[int] = set()


def _after_fork() -> None:
    _busy_at_fork.update(_busy)
    _busy.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def begin(what: object) -> None:
    """Counts what a fork must not happen beside, until its `end`.

    Raises:
        ServingError: FAILED_PRECONDITION in a child that was forked so.
    """
    if _busy_at_fork:
        raise ServingError(
            "A process must not be forked while a client asks, or after an "
            "asyncio client has. Received: a question in process "
            f"{os.getpid()}, forked beside {len(_busy_at_fork)} of them. Fork "
            "before the first question, or start processes with "
            "multiprocessing's `spawn`.",
            "FAILED_PRECONDITION",
        )
    _busy.add(id(what))


def end(what: object) -> None:
    """Takes back `begin`."""
    _busy.discard(id(what))
