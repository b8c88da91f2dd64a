"""Which users a release on trial answers, and what they get when it does not.

The labels of `serving.labels` are the servers' own, so the share comes by the
way their config comes and changes without an application being touched. A
larger share only adds users.

| | asks | and then |
|---|---|---|
| an anonymous user, or bucket above the share | `stable` | the latest |
| bucket within the share | `canary` | `stable`, when it fails or is slow |

Every few seconds one question asks for the labels before it asks for items.
"""

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from serving import labels
from serving.client.query import Degraded, Items, Recommendations
from serving.client.stages import Stages
from serving.client.transport import calls
from serving.errors import ServingError
from serving.labels import CANARY, STABLE

_Row = TypeVar("_Row")
_Answer = TypeVar("_Answer", Items, Recommendations)
_Ask = Callable[[list[_Row], calls.Trace], Awaitable[list[_Answer]]]

# How long what was found out about labels is believed.
LEARN_SECONDS = 5.0
# Of the time left: for the labels, and for the canary before `stable` is asked.
_LEARN_SHARE = 0.2
_CANARY_SHARE = 0.5
# So many failures in a row, and nobody asks the canary for a while.
_MOST_FAILURES = 3
_LESS = (Degraded.NOTHING, Degraded.DIVERSITY_UNAVAILABLE)


def _named(answers: list[_Answer], label: str) -> list[_Answer]:
    """The answers with the label that was asked, where a model gave them."""
    return [
        replace(answer, label=label) if answer.version else answer
        for answer in answers
    ]


@dataclass
class Sides:
    """Sends users to one side or the other; shared by all questions.

    Attributes:
        stages: Asks the models; with a label of its own there are no sides.
        share: Percent of users that ask the canary.
        is_labelled: Whether the servers have the label `stable`.
    """

    stages: Stages
    share: int = 0
    is_labelled: bool = False
    _due: float = -math.inf
    _failures: int = 0
    _rests_until: float = -math.inf

    async def ask(
        self,
        rows: list[_Row],
        user: Callable[[_Row], str],
        trace: calls.Trace,
        question: "_Ask[_Row, _Answer]",
        is_pinned: bool = False,
    ) -> list[_Answer]:
        """Asks each row's side; answers in the rows' order.

        A question that is pinned to a version has no sides.
        """
        if is_pinned:
            return await question(rows, trace)
        if self.stages.label:
            return _named(await question(rows, trace), self.stages.label)
        await self._learn(trace)
        found: dict[int, _Answer] = {}
        tried = [i for i, row in enumerate(rows) if self._is_tried(user(row))]
        if tried:
            answers = await self._canary(
                [rows[i] for i in tried], trace, question
            )
            found.update(zip(tried, answers, strict=False))
        rest = [i for i in range(len(rows)) if i not in found]
        if rest:
            trace.label = STABLE if self.is_labelled else ""
            answers = await question([rows[i] for i in rest], trace)
            answers = _named(answers, trace.label)
            found.update(zip(rest, answers, strict=True))
        return [found[i] for i in range(len(rows))]

    def _is_tried(self, user_id: str) -> bool:
        return (
            bool(user_id)
            and self.share > 0
            and labels.bucket(user_id) <= self.share
            and time.monotonic() >= self._rests_until
        )

    async def _canary(
        self,
        rows: list[_Row],
        trace: calls.Trace,
        question: "_Ask[_Row, _Answer]",
    ) -> list[_Answer]:
        """Answers of the canary; none where it has no whole ones."""
        aside = trace.beside()
        aside.label = CANARY
        answers: list[_Answer] = []
        try:
            with aside.part(_CANARY_SHARE):
                answers = await question(rows, aside)
        except ServingError:
            # Even of what the caller has done wrong `stable` is the judge.
            pass
        if answers and all(
            isinstance(answer, Items) or answer.degraded in _LESS
            for answer in answers
        ):
            self._failures = 0
            return _named(answers, CANARY)
        trace.retries += 1 + aside.retries
        self._failures += 1
        if self._failures >= _MOST_FAILURES:
            self._rests_until = time.monotonic() + LEARN_SECONDS
        return []

    async def _learn(self, trace: calls.Trace) -> None:
        """Asks for the labels where it is time to."""
        now = time.monotonic()
        if now < self._due and not self.stages.is_label_gone:
            return
        self.stages.is_label_gone = False
        if self._due > -math.inf:
            # Others go on with what is known.
            self._due = now + LEARN_SECONDS
        aside = trace.beside()
        try:
            with aside.part(_LEARN_SHARE):
                self.is_labelled = await self.stages.has_label(STABLE, aside)
                self.share = await self._search(aside)
        except ServingError:
            # Whoever does not answer this will not answer the question.
            pass
        self._due = time.monotonic() + LEARN_SECONDS

    async def _search(self, trace: calls.Trace) -> int:
        """The highest bucket with a label: as it was, or by halving."""
        if not self.is_labelled:
            return 0
        if await self._has(self.share, trace):
            if not await self._has(self.share + 1, trace):
                return self.share
        low, high = 0, labels.BUCKETS
        while low < high:
            middle = (low + high + 1) // 2
            if await self._has(middle, trace):
                low = middle
            else:
                high = middle - 1
        return low

    async def _has(self, number: int, trace: calls.Trace) -> bool:
        if not 0 < number <= labels.BUCKETS:
            return number == 0
        return await self.stages.has_label(labels.of_bucket(number), trace)
