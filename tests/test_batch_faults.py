"""What goes wrong in one part of a batch."""

import threading
import time

import numpy as np
import pytest

from serving.errors import ServingError
from tests.test_batching import SIGNATURE, Model, _ask_all, _batcher


def test_a_failed_part_waits_for_the_others():
    running, failed = threading.Event(), threading.Event()
    ended = []

    def answer(x):
        if x[0] == 0:
            assert running.wait(10)
            failed.set()
            raise ServingError("no", "INTERNAL")
        running.set()
        assert failed.wait(10)
        time.sleep(0.2)
        ended.append(x[0])
        return [x]

    batcher = _batcher(
        Model(answer=answer),
        "max_batch_size { value: 8 } max_execution_batch_size { value: 2 } "
        "enable_large_batch_splitting { value: true }",
        threads=2,
    )
    (error,) = _ask_all(batcher, [np.arange(4)])
    assert str(error) == "no"
    # Whoever got the error lets go of the model: nothing runs in it any more.
    assert ended == [2]


def test_a_fault_of_a_batch_reaches_its_callers():
    batcher = _batcher(Model())
    batcher._metrics.queuing_latency = None
    with pytest.raises(AttributeError):
        batcher.run_tensors(SIGNATURE, {"x": np.arange(2)}, ["y"], None)
