"""What a forked process may do with clients.

gRPC carries its channels over a fork, but not while another thread is in a
call: a question in such a child, by an old client or a new one, may hang for
ever. So such a child is told, and asks nothing.
"""

import contextlib
import os
from collections.abc import Iterator

from serving.errors import ServingError

# Questions under way, by identity; a set's methods need no lock, which a fork
# could leave locked.
_asking: set[int] = set()
_hung: set[int] = set()


def _after_fork() -> None:
    _hung.update(_asking)
    _asking.clear()


os.register_at_fork(after_in_child=_after_fork)


@contextlib.contextmanager
def asking(question: object) -> Iterator[None]:
    """Counts a question for as long as it is under way.

    Raises:
        ServingError: FAILED_PRECONDITION in a process forked beside one.
    """
    if _hung:
        raise ServingError(
            "A process must not be forked while clients ask. Received: "
            f"{len(_hung)} questions under way in the parent process (when "
            f"process {os.getpid()} was forked). Fork before the first "
            "question, or start processes with multiprocessing's `spawn`.",
            "FAILED_PRECONDITION",
        )
    _asking.add(id(question))
    try:
        yield
    finally:
        _asking.discard(id(question))
