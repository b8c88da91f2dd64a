"""What a config leaves open and the size of the log decides."""

import numpy as np

from models.config import Encoder, RetrievalConfig

_STEPS_PER_EPOCH = 200
# Targets below which encoders are tried instead of taking attention.
_TRY_BELOW = 300_000


def encoders(options: RetrievalConfig, num_targets: float) -> list[Encoder]:
    """Those that `base` is trained with; resolves "auto".

    On MovieLens a decayed mean is ahead of attention where a log is small
    (NDCG@10 on validation: 100,000 interactions .141 against .125) and behind
    where it is large (a million: .185 against .198). Where order decides, as
    on the sample, it can be behind on small ones too (.201 against .217).
    """
    if options.encoder != "auto":
        return [options.encoder]
    if num_targets < _TRY_BELOW:
        return ["bow", "attention"]
    return ["attention"]


def batch_positions(options: RetrievalConfig, num_targets: float) -> int:
    """Targets in a step; resolves 0.

    On ML-100K 512 gave NDCG@10 .126 where 2048 gave .121 in as much time, on a
    log of 30,000 targets 128 gave .088 where 256 gave .082: on small data the
    number of steps counts, on large data the time of each.
    """
    if options.batch_positions:
        return options.batch_positions
    wanted = np.log2(max(num_targets, 1) / _STEPS_PER_EPOCH)
    return int(2 ** np.clip(np.round(wanted), 7, 12))
