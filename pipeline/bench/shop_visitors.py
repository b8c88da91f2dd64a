"""Users who ask a server all the time and take what they like of it.

Enters: a server's address. Leaves: what each request got, and what was taken.
"""

import contextlib
import threading
import time
from dataclasses import dataclass

import numpy as np

from pipeline.bench import shop_days
from pipeline.bench.shop_days import Rows
from serving.client import Query, RecommenderClient
from serving.errors import ServingError

_PAUSE_SECONDS = 0.1
_TIMEOUT_SECONDS = 20.0
# Items of a history that are sent.
_LENGTH = 20
# Of what they like and look at.
_TAKEN_SHARE = 0.3


@dataclass(frozen=True)
class _Answer:
    version: int
    milliseconds: float
    failed: bool


class Visitors:
    """One user after the other, for the length of a `with`.

    Args:
        target: gRPC address of the server.
        before: What its users took before, in order of time; all of them
            come, with equal chances.
        seed: Of who comes and what is taken.
    """

    def __init__(self, target: str, before: Rows, seed: int) -> None:
        self._client = RecommenderClient(
            target, timeout_seconds=_TIMEOUT_SECONDS
        )
        self._histories: dict[int, list[int]] = {}
        for user, item in zip(before.users, before.items, strict=True):
            self._histories.setdefault(int(user), []).append(int(item))
        self._users = sorted(self._histories)
        self._rng = np.random.default_rng(seed)
        self._answers: list[_Answer] = []
        self._taken: list[tuple[int, int, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._come)

    def __enter__(self) -> "Visitors":
        """Begins to ask."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Asks no more."""
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _come(self) -> None:
        while not self._stop.wait(_PAUSE_SECONDS):
            user = int(self._rng.choice(self._users))
            history = [f"i{item}" for item in self._histories[user]]
            start = time.monotonic()
            version, failed = 0, True
            items: tuple[str, ...] = ()
            with contextlib.suppress(ServingError):
                answer = self._client.recommend(
                    Query(f"u{user}", history[-_LENGTH:]), k=10
                )
                version, items = answer.version, answer.item_ids
                failed = bool(answer.degraded) or not items
            took = (time.monotonic() - start) * 1e3
            self._answers.append(_Answer(version, took, failed))
            self._take(user, [int(item[1:]) for item in items])

    def _take(self, user: int, items: list[int]) -> None:
        # Places are looked at ever less, whatever is there (the position model
        # of Craswell et al. 2008).
        places = np.arange(1, len(items) + 1)
        looked = self._rng.random(len(items)) < 1 / places
        wants = self._rng.random(len(items)) < _TAKEN_SHARE
        for item, is_wanted in zip(items, looked & wants, strict=True):
            if is_wanted and shop_days.likes(user, item):
                # Answers carry the second they were logged in.
                self._taken.append((user, item, int(time.time()) + 1))
                self._histories[user].append(item)

    def begin(self) -> int:
        """How many were answered so far, to count from."""
        return len(self._answers)

    def requests(self, since: int) -> int:
        """Answers and failures since then."""
        return len(self._answers) - since

    def failed(self, since: int) -> int:
        """Requests without an answer, or with a degraded one."""
        return sum(answer.failed for answer in self._answers[since:])

    def p99_ms(self, since: int) -> float:
        """What one request in a hundred takes at least, in milliseconds."""
        times = [answer.milliseconds for answer in self._answers[since:]]
        return float(np.percentile(times, 99))

    def wait_for(self, versions: set[int | None], patience: float) -> None:
        """Returns once exactly these versions answer, each again and again.

        Raises:
            ServingError: If they do not within `patience` seconds.
        """
        end = time.monotonic() + patience
        while time.monotonic() < end:
            since = self.begin()
            time.sleep(3.0)
            if {a.version for a in self._answers[since:]} == versions:
                return
        raise ServingError(
            f"Versions {versions} must answer. Received: others for "
            f"{patience:.0f} s. server.log says why."
        )

    def taken(self) -> Rows:
        """What users took, when they did."""
        found = np.array(self._taken, np.int64).reshape(-1, 3)
        return Rows(found[:, 0], found[:, 1], found[:, 2])
