"""In which order the models of a release reach servers of their own.

Clients ask `ranking` for the version that retrieval answered with. So
`ranking` lists a new version beside the old one first; the other models list
it when every ranking server has it; and `ranking` drops what no retrieval
server answers with any more. A rollback takes the same steps. The version
before the live one stays listed for `ranking`: a rollback finds it loaded.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from serving import signatures
from serving.releases.replicas import Replicas

LEADER = signatures.RANKING
# Whose answers name a version that `ranking` is then asked for.
_ASKED_FIRST = (signatures.RETRIEVAL, signatures.RETRIEVAL_EXACT)
# However often something is released, so many versions stay at most.
_MAX_KEPT = 3

Listed = dict[str, list[int]]
# Versions of a model below a number that could be served, highest first.
Older = Callable[[str, int], list[int]]


@dataclass
class Phases:
    """What each model lists, step by step.

    Attributes:
        overlap_seconds: How long a replaced version stays; without
            `ranking`, also how long a new one is given to load there.
        ranking: The servers of `ranking`, None if they cannot be asked.
        retrieval: The servers of the other models, None likewise.
        listed: What each model lists now; to go on after an end, fill it.
        waiting: What a release waits for, "" for nothing.
    """

    overlap_seconds: float
    ranking: Replicas | None = None
    retrieval: Replicas | None = None
    listed: Listed = field(default_factory=dict)
    waiting: str = ""
    _since: dict[int, float] = field(default_factory=dict)
    _used: dict[tuple[str, int], float] = field(default_factory=dict)

    def step(
        self,
        released: Mapping[str, list[int]],
        allowed: Mapping[str, list[int]],
        older: Older,
        now: float,
    ) -> Listed:
        """What to list now: versions by model, ascending.

        Args:
            released: The live versions of every model.
            allowed: Those that may be listed; a model that is held back has
                others or is absent.
            older: Finds what was served before.
            now: Seconds of a monotonic clock.
        """
        self.waiting = ""
        # At the very start nothing answers that could be missed.
        is_new = not self.listed
        resumed = list(self.listed.get(LEADER, []))
        if LEADER in allowed:
            self.listed[LEADER] = self._lead(allowed[LEADER], older, now)
        self._since = {
            number: self._since.get(
                number, -math.inf if is_new or number in resumed else now
            )
            for number in self.listed.get(LEADER, [])
        }
        for model, wanted in allowed.items():
            if model != LEADER:
                gate = set(wanted) & set(released.get(LEADER, []))
                self.listed[model] = self._follow(
                    model, wanted, gate, older, now
                )
        for model in set(self.listed) - set(allowed):
            del self.listed[model]
        return {model: list(numbers) for model, numbers in self.listed.items()}

    def _lead(self, wanted: list[int], older: Older, now: float) -> list[int]:
        if not wanted:
            return []
        present = self.listed.get(LEADER)
        if present is None:
            present = older(LEADER, min(wanted))[:1]
        # A release that lists the one before it needs nothing kept beside.
        lower = [n for n in present if n < min(wanted) and len(wanted) == 1]
        before = max(lower, default=None)
        kept = [
            number
            for number in self._unwanted(LEADER, present, wanted, now)
            if number == before or self._is_used(number, now)
        ]
        return sorted({*wanted, *kept[-_MAX_KEPT:]})

    def _is_used(self, number: int, now: float) -> bool:
        """Whether callers may still ask `ranking` for a version."""
        used = self._used[LEADER, number]
        if self.retrieval is None:
            # Nobody tells when the others have gone over: twice the time.
            return now - used < 2 * self.overlap_seconds
        if self.retrieval.may_use(_ASKED_FIRST, number):
            self._used[LEADER, number] = used = now
        return now - used < self.overlap_seconds

    def _follow(
        self,
        model: str,
        wanted: list[int],
        gate: set[int],
        older: Older,
        now: float,
    ) -> list[int]:
        if not wanted:
            return []
        present = self.listed.get(model)
        if present is None:
            return self._first(model, wanted, gate, older)
        if not (set(wanted) <= set(present) or self._is_ready(gate, now)):
            return present
        kept = [
            number
            for number in self._unwanted(model, present, wanted, now)
            # After a rollback a newer one would go on as the latest.
            if number < min(wanted)
            and now - self._used[model, number] < self.overlap_seconds
        ]
        return sorted({*wanted, *kept})

    def _first(
        self, model: str, wanted: list[int], gate: set[int], older: Older
    ) -> list[int]:
        """What a new server begins with, maybe in the middle of a release."""
        if self.ranking is None or self._is_ready(gate, math.inf):
            return wanted
        for number in older(model, min(wanted))[:_MAX_KEPT]:
            if not self.ranking.lacking(LEADER, number):
                return [number]
        # Nobody has ranking at all: answers without it are better than none.
        return wanted

    def _is_ready(self, gate: set[int], now: float) -> bool:
        """Whether ranking's servers have the versions."""
        for number in sorted(gate):
            if self.ranking is not None:
                trouble = self.ranking.lacking(LEADER, number)
            else:
                left = self._since.get(number, math.inf) - now
                left += self.overlap_seconds
                trouble = "it may still be loading" if left > 0 else ""
            if trouble:
                self.waiting = (
                    f"waiting for {LEADER} version {number}: {trouble}"
                )
                return False
        return True

    def _unwanted(
        self, model: str, present: list[int], wanted: list[int], now: float
    ) -> list[int]:
        """Listed versions that are not wanted; notes since when."""
        for number in wanted:
            self._used.pop((model, number), None)
        found = [number for number in present if number not in wanted]
        for number in found:
            self._used.setdefault((model, number), now)
        return found
