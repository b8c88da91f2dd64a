"""Asks two versions what callers have asked, and compares their answers.

Enters: a log of requests, and whom to ask. Leaves `replay.json` and `replay.md`
beside the run's steps. Both are asked each request, in turns, so that what
else runs on the machine slows them alike. User ids that were hidden in the
log are unknown to both.
"""

import dataclasses
import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from tensorflow_serving.apis import predict_pb2

from pipeline.feedback import log as logs
from pipeline.feedback.agreement import Figures, Pairs
from pipeline.feedback.log import Log, Logged
from pipeline.feedback.sides import Side
from pipeline.tables.schema import DataError
from serving import signatures
from serving.errors import ServingError
from serving.prediction_log.user_ids import MARK

JSON, PAGE = "replay.json", "replay.md"
# Asked once more in front: models load, memory is found.
_WARM_UP = 5
_QUANTILES = {"p50_ms": 50, "p99_ms": 99}


@dataclass(frozen=True)
class Speed:
    """Latency of one side's answers, in milliseconds."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Replay:
    """What came of a log.

    Attributes:
        log: Where it was read.
        live: Who was asked first.
        new: Who was compared.
        records: Whole records of the log.
        requests: That were asked.
        broken: Damaged records: file, byte and what is wrong.
        passed_over: Records without a list, by what they are.
        hidden_users: Requests whose users the log does not tell.
        models: Agreement by model.
        speed: By side.
        latency_ratio: New over live, of the medians; NaN where one of them
            answers nothing.
        errors: Failed requests by side and code.
        failed_alone: Requests that the live side answers and the new one not.
        first_failure: What the new side said when it first failed.
    """

    log: str
    live: str
    new: str
    records: int
    requests: int
    broken: list[str]
    passed_over: dict[str, int]
    hidden_users: int
    models: dict[str, Figures]
    speed: dict[str, Speed]
    latency_ratio: float
    errors: dict[str, dict[str, int]]
    failed_alone: int
    first_failure: str

    def plain(self) -> dict[str, object]:
        """As JSON has it; what could not be measured is null."""
        found = dataclasses.asdict(self)
        return {name: _plain(value) for name, value in found.items()}


@dataclass
class _Tally:
    """What is known of the requests so far."""

    pairs: dict[str, Pairs] = field(default_factory=lambda: defaultdict(Pairs))
    seconds: dict[str, list[float]] = field(
        default_factory=lambda: {"live": [], "new": []}
    )
    errors: dict[str, Counter[str]] = field(
        default_factory=lambda: {"live": Counter(), "new": Counter()}
    )
    failed_alone: int = 0
    first_failure: str = ""


def run(log: Log, live: Side, new: Side, most: int) -> Replay:
    """Replays `most` requests of a log, drawn evenly where it has more.

    Raises:
        DataError: If it has none for these models, or none was answered.
    """
    chosen = _drawn(log, most)
    sides = {"live": live, "new": new}
    for logged in chosen[:_WARM_UP]:
        for side in sides.values():
            _answer(side, logged)
    tally = _Tally()
    for number, logged in enumerate(chosen):
        order = list(sides) if number % 2 else list(reversed(sides))
        found: dict[str, predict_pb2.PredictResponse] = {}
        for name in order:
            answer, seconds = _answer(sides[name], logged)
            if isinstance(answer, ServingError):
                tally.errors[name][answer.code] += 1
                if name == "new":
                    tally.first_failure = tally.first_failure or str(answer)
                continue
            found[name] = answer
            tally.seconds[name].append(seconds)
        if "live" in found and "new" not in found:
            tally.failed_alone += 1
        if len(found) == len(sides):
            _compare(tally.pairs[logged.model], logged, found)
    if not any(tally.seconds.values()):
        raise DataError(
            "A replay needs requests that somebody answers. Received: none of "
            f"{len(chosen)} (from {log.where}): {tally.first_failure}"
        )
    return _report(log, sides, chosen, tally)


def _drawn(log: Log, most: int) -> list[Logged]:
    """Requests of our models, each with the same chance, in their order."""
    source = random.Random(0)
    kept: list[tuple[int, Logged]] = []
    others: Counter[str] = Counter()
    seen = 0
    for logged in log:
        if logged.model not in signatures.BUNDLE:
            others[logged.model] += 1
            continue
        if len(kept) < most:
            kept.append((seen, logged))
        elif (place := source.randrange(seen + 1)) < most:
            kept[place] = (seen, logged)
        seen += 1
    log.passed_over.update({f"model {name}": n for name, n in others.items()})
    if not kept:
        raise DataError(
            "A replay needs logged answers with lists of items, of "
            f"{', '.join(signatures.BUNDLE)}. Received: {log.num_records} "
            f"records without one (from {log.where}). "
            + "; ".join(log.told() or ["The files are empty."])
        )
    return [logged for _, logged in sorted(kept, key=lambda pair: pair[0])]


def _answer(
    side: Side, logged: Logged
) -> tuple[predict_pb2.PredictResponse | ServingError, float]:
    request = predict_pb2.PredictRequest()
    request.CopyFrom(logged.request)
    # Versions and labels are of their time.
    request.model_spec.ClearField("version")
    request.model_spec.ClearField("version_label")
    start = time.perf_counter()
    try:
        answer = side.ask(request)
    except ServingError as error:
        return error, 0.0
    return answer, time.perf_counter() - start


def _compare(
    pairs: Pairs, logged: Logged, found: dict[str, predict_pb2.PredictResponse]
) -> None:
    before = logs.lists(logged.response)
    live, new = (logs.lists(found[name]) for name in ("live", "new"))
    for row, (one, other) in enumerate(zip(live, new, strict=False)):
        pairs.add(one, other, before[row] if row < len(before) else None)


def _report(
    log: Log, sides: dict[str, Side], chosen: list[Logged], tally: _Tally
) -> Replay:
    speed = {}
    for name, taken in tally.seconds.items():
        values = np.percentile(taken or [math.nan], list(_QUANTILES.values()))
        speed[name] = Speed(*(round(1000 * value, 4) for value in values))
    is_hidden = (
        any(user.startswith(MARK) for user in logs.user_ids(logged.request))
        for logged in chosen
    )
    return Replay(
        log=log.where,
        live=sides["live"].name,
        new=sides["new"].name,
        records=log.num_records,
        requests=len(chosen),
        broken=[str(one) for one in log.broken],
        passed_over=dict(log.passed_over),
        hidden_users=sum(is_hidden),
        models={name: one.figures() for name, one in tally.pairs.items()},
        speed=speed,
        latency_ratio=round(speed["new"].p50_ms / speed["live"].p50_ms, 4),
        errors={name: dict(codes) for name, codes in tally.errors.items()},
        failed_alone=tally.failed_alone,
        first_failure=tally.first_failure,
    )


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def table(replay: Replay) -> list[list[str]]:
    """Rows for people, heads first: a figure, then each model."""
    models = replay.models

    def row(words: str, name: str, digits: str = ".3f") -> list[str]:
        values: Iterable[float] = (
            getattr(one, name) for one in models.values()
        )
        return [words, *(format(value, digits) for value in values)]

    return [
        ["", *models],
        row("lists", "lists", ",d"),
        row("overlap@10", "overlap_at_10"),
        row("  a tenth of them below", "overlap_at_10_low"),
        row("items in common", "common"),
        row("Spearman of those", "spearman"),
        row("Kendall of those", "kendall"),
        row("scores: shift", "score_shift", "+.4f"),
        row("scores: KS distance", "score_ks"),
        row("emptied lists", "emptied", ",d"),
        row("live, with what was shown", "shown_overlap_live"),
        row("new, with what was shown", "shown_overlap_new"),
    ]


def lines(replay: Replay, log: Log) -> list[str]:
    """What the table does not have."""
    live, new = replay.speed["live"], replay.speed["new"]
    found = [
        f"{replay.requests:,} of {replay.records:,} records replayed: "
        f"{replay.live} against {replay.new}",
    ]
    if math.isfinite(replay.latency_ratio):
        found.append(
            f"latency: p50 {live.p50_ms:.2f} and {new.p50_ms:.2f} ms, p99 "
            f"{live.p99_ms:.2f} and {new.p99_ms:.2f} ms, ratio of the medians "
            f"{replay.latency_ratio:.2f}"
        )
    for name, codes in replay.errors.items():
        if codes:
            told = ", ".join(f"{count} {code}" for code, count in codes.items())
            found.append(f"errors of {name}: {told}")
    if replay.failed_alone:
        found.append(
            f"{replay.failed_alone} requests that only the new one fails: "
            f"{replay.first_failure}"
        )
    if replay.hidden_users:
        found.append(
            f"{replay.hidden_users:,} requests have hidden user ids, which "
            "both take for unknown users"
        )
    return found + log.told()
