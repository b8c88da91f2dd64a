"""Which replica is asked next, and what is remembered of those that failed.

The policy for several replicas, in one place. All models, stages, calls and
threads of a client share what is remembered here.

* Replicas take turns, question by question: a question stays with the replica
  that answered its first call, which also has the version that call answered
  with.
* A replica has failed when a call to it ends UNAVAILABLE (refused, reset) or
  in silence. It then sits out for half a second, twice as long each time in
  a row, eight seconds at most. A small call nobody waits for asks whether it
  is back; then one question tries it, and its answer ends the matter. When
  all replicas have failed, all are asked as if none had.
* While another replica is to be had, a call may take eight times what such
  calls have been taking, at least a fifth of a second or a quarter of the time
  left, whichever is less; then the question goes there with the rest. A first
  call of its size may take half of the time left.
* NOT_FOUND goes to the other replicas as well, and a replica without that
  model or version is asked for it again after a second.
* Another replica that has not failed is asked at once, at no charge: it is
  a failed replica's share of the load, and ends when that one sits out.
  Everything else that is asked again (the same replica after a pause, one
  that failed, one that had no room) costs a token of twenty; each answer
  gives a fifth of one back. So an overload is not met with four times the
  calls.

The addresses behind one name (`dns:///service:8500`) are gRPC's to balance, see
`transport.channel`; a silent call to such a name is cut short and made again in
the same way, once, at the charge of a token. What one address has not got is
asked for again at once, four calls at most: in a rollout the next one may have
it. A model that none of four had is asked for once a question, for a second.
"""

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

_FIRST_REST_SECONDS = 0.5
_LONGEST_REST_SECONDS = 8.0
PROBE_SECONDS = 1.0
_LACKING_SECONDS = 1.0

_TOKENS = 20.0
_TOKENS_AN_ANSWER = 0.2

_SHARE_OF_A_TRY = 0.25
_SHARE_OF_A_FIRST = 0.5
_LEAST_SECONDS = 0.2
_TIMES_THE_USUAL = 8.0
_USUAL_HALVES_SECONDS = 30.0

# Kind of call: path of the method, model, and the size of its request as a
# power of two.
Kind = tuple[str, str, int]
# A model and the version or label it is pinned to, "" for the latest.
Wanted = tuple[str, int | str]


@dataclass
class _Replica:
    """What is known of one replica.

    Attributes:
        failures: In a row; 0 is healthy.
        until: Moment up to which it is left alone.
        is_back: A probe was answered: one question may try it.
        is_tried: That question is under way.
    """

    failures: int = 0
    until: float = 0.0
    is_back: bool = False
    is_tried: bool = False


class Health:
    """How the replicas have been answering; chooses among them.

    Attributes:
        tokens: Left for calls that are made again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._health: dict[str, _Replica] = {}
        self._lacking: dict[tuple[str, Wanted], float] = {}
        self._usual: dict[Kind, tuple[float, float]] = {}
        self.tokens = _TOKENS
        # Of each list: two that shared one would keep meeting the same replica.
        self._turns: dict[tuple[str, ...], int] = {}

    def choose(
        self,
        replicas: Sequence[str],
        wanted: Wanted,
        avoid: Sequence[str] = (),
        preferred: str = "",
    ) -> tuple[str, bool]:
        """Takes the replica to ask next: `preferred` if it is healthy.

        One of `avoid` is asked only when there is no other.

        Returns:
            Its address, and whether a healthy one is left beside it.
        """
        if len(replicas) == 1:
            return replicas[0], False
        with self._lock:
            fresh = [one for one in replicas if one not in avoid]
            healthy = [one for one in fresh if self._is_fit(one, wanted)]
            for one in fresh:
                health = self._health.get(one)
                if health is not None and health.is_back:
                    health.is_back, health.is_tried = False, True
                    health.until = time.monotonic() + 2 * PROBE_SECONDS
                    return one, bool(healthy)
            if preferred in healthy or (
                preferred in fresh and self._is_tried(preferred)
            ):
                return preferred, any(one != preferred for one in healthy)
            fit = [one for one in replicas if self._is_fit(one, wanted)]
            group = healthy or fit
            if not group:
                # The one that was asked in vain the longest ago.
                lacking = {
                    one: self._lacking.get((one, wanted), 0.0)
                    for one in fresh or replicas
                }
                oldest = min(lacking.values())
                group = [one for one in lacking if lacking[one] == oldest]
            key = tuple(replicas)
            # Clients that start together do not all begin with one replica.
            turn = self._turns.get(key, random.randrange(1 << 16)) + 1
            self._turns[key] = turn
            chosen = group[turn % len(group)]
            return chosen, any(one != chosen for one in healthy)

    def has_spare(
        self, replicas: Sequence[str], wanted: Wanted, tried: Sequence[str]
    ) -> bool:
        """Whether a healthy replica is left that has not been tried."""
        with self._lock:
            return any(
                one not in tried and self._is_fit(one, wanted)
                for one in replicas
            )

    def due(self, replicas: Sequence[str]) -> list[str]:
        """Takes the replicas whose rest is over, to be probed now."""
        if len(replicas) == 1:
            return []
        now = time.monotonic()
        found = []
        with self._lock:
            for one in replicas:
                health = self._health.get(one)
                if (
                    health is not None
                    and health.failures
                    and not health.is_back
                    and now >= health.until
                ):
                    # A probe that is never heard of is sent again.
                    health.until = now + 2 * PROBE_SECONDS
                    found.append(one)
        return found

    def probed(self, replica: str, is_back: bool) -> None:
        """Takes the outcome of a probe."""
        with self._lock:
            health = self._health.get(replica)
            if health is None or not health.failures:
                return
            if is_back:
                health.is_back = True
            else:
                self._rest(health)

    def is_alive(self, replica: str) -> None:
        """Takes note of an answer of whatever kind."""
        with self._lock:
            self._health.pop(replica, None)

    def took(self, kind: Kind, seconds: float) -> None:
        """Takes note of how long an answer took."""
        now = time.monotonic()
        with self._lock:
            self.tokens = min(_TOKENS, self.tokens + _TOKENS_AN_ANSWER)
            self._usual[kind] = max(seconds, self._peak(kind, now)), now

    def failed(self, replica: str) -> None:
        """Takes note of a failure: the replica sits out."""
        with self._lock:
            health = self._health.setdefault(replica, _Replica())
            # Calls that were under way together fail together: that is one.
            if health.is_tried or time.monotonic() >= health.until:
                self._rest(health)

    def lacks(self, replica: str, wanted: Wanted) -> None:
        """Takes note that a replica has not got a model or version."""
        now = time.monotonic()
        with self._lock:
            self._lacking = {
                key: until
                for key, until in self._lacking.items()
                if until > now
            }
            self._lacking[replica, wanted] = now + _LACKING_SECONDS

    def patience(self, kind: Kind, seconds: float) -> float:
        """How long to wait for a replica while another one is to be had.

        `seconds` are left until the deadline.
        """
        now = time.monotonic()
        with self._lock:
            if kind[0].endswith("/Predict") and kind not in self._usual:
                return seconds * _SHARE_OF_A_FIRST
            usual = self._peak(kind, now) * _TIMES_THE_USUAL
        least = min(seconds * _SHARE_OF_A_TRY, _LEAST_SECONDS)
        return min(seconds, max(least, usual))

    def may_repeat(self) -> bool:
        """Takes a token for a call that is made again, if one is left."""
        with self._lock:
            if self.tokens < 1.0:
                return False
            self.tokens -= 1.0
            return True

    def may_have(self, replica: str, wanted: Wanted) -> bool:
        """Whether a replica is not known to lack a model or version."""
        until = self._lacking.get((replica, wanted), 0.0)
        return not until or time.monotonic() >= until

    def _is_fit(self, replica: str, wanted: Wanted) -> bool:
        health = self._health.get(replica)
        if health is not None and health.failures:
            return False
        return self.may_have(replica, wanted)

    def _is_tried(self, replica: str) -> bool:
        health = self._health.get(replica)
        return health is not None and health.is_tried

    def _rest(self, health: _Replica) -> None:
        rest = min(
            _FIRST_REST_SECONDS * 2.0**health.failures, _LONGEST_REST_SECONDS
        )
        health.failures += 1
        health.is_back = health.is_tried = False
        # Spread, so that many clients do not come back to it together.
        health.until = time.monotonic() + rest * random.uniform(0.75, 1.25)

    def _peak(self, kind: Kind, now: float) -> float:
        """The longest that such calls took lately, in seconds."""
        seconds, moment = self._usual.get(kind, (0.0, now))
        return seconds * 0.5 ** ((now - moment) / _USUAL_HALVES_SECONDS)
