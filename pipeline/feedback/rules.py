"""What a replay must show before a version is released.

Enters: a replay. Leaves: rules of the gate, as `decision.json` takes them.
"""

import math

from pipeline.feedback.replay import Replay
from pipeline.run.rules import Rule


def judge(replay: Replay) -> list[Rule]:
    """Whether the new version answers what the live one answers.

    How far the answers differ is told and decides nothing: a model that has
    learned something new answers otherwise.
    """
    emptied = sum(one.emptied for one in replay.models.values())
    ratio = replay.latency_ratio
    is_timed = math.isfinite(ratio)
    found = [
        Rule.of(
            "replay: answers",
            not replay.failed_alone,
            "The new version must answer every logged request that "
            f"{replay.live} answers: {replay.failed_alone} of "
            f"{replay.requests} fail. {replay.first_failure}".strip(),
            replay.failed_alone,
            0,
        ),
        Rule.of(
            "replay: lists with items",
            not emptied,
            "The new version must recommend something wherever "
            f"{replay.live} does: {emptied} lists have no item.",
            emptied,
            0,
        ),
        Rule(
            "replay: latency",
            f"The median request takes {ratio:.2f} times what it takes "
            f"{replay.live}."
            if is_timed
            else "One of the versions answers nothing that could be timed.",
            value=ratio if is_timed else None,
        ),
    ]
    return found + [
        Rule(
            f"replay: overlap@10 of {name}",
            f"{one.overlap_at_10:.0%} of the first ten items of {name} stay.",
            value=one.overlap_at_10,
        )
        for name, one in replay.models.items()
    ]
