"""How batches are formed, from the text that operators write."""

from dataclasses import dataclass
from typing import TypeVar

from serving.errors import invalid
from serving.wire import server_config_pb2

_Value = TypeVar("_Value", int, bool)


@dataclass(frozen=True)
class Rules:
    """How batches are formed; defaults are TensorFlow Serving's.

    Attributes:
        max_rows: Of a batch, and of a request unless those are split.
        max_run_rows: Of a run when large requests are split.
        wait_seconds: After which a batch that is not full runs.
        max_batches: That may wait in one queue.
        allowed_rows: Batches are filled up to one of these sizes.
        pad: Whether inputs of other widths are padded to the widest.
        split: Whether a request may spread over several batches.
    """

    max_rows: int = 1000
    max_run_rows: int = 1000
    wait_seconds: float = 0.0
    max_batches: int = 10
    allowed_rows: tuple[int, ...] = ()
    pad: bool = False
    split: bool = False


def rules_of(parameters: server_config_pb2.BatchingParameters) -> Rules:
    """Reads `BatchingParameters`."""

    def value(name: str, default: _Value) -> _Value:
        is_set = parameters.HasField(name)
        return getattr(parameters, name).value if is_set else default

    max_rows = value("max_batch_size", Rules.max_rows)
    allowed = tuple(parameters.allowed_batch_sizes)
    if allowed and allowed[-1] != max_rows:
        raise invalid(
            "Last entry in allowed_batch_sizes must match max_batch_size; "
            f"last entry was {allowed[-1]}; expected {max_rows}"
        )
    if list(allowed) != sorted(set(allowed)) or max_rows < 1:
        raise invalid(
            "allowed_batch_sizes must increase and max_batch_size be at "
            f"least 1. Received: {list(allowed)}, {max_rows}."
        )
    split = value("enable_large_batch_splitting", False)
    run_rows = value("max_execution_batch_size", max_rows) or max_rows
    return Rules(
        max_rows,
        min(run_rows, max_rows) if split else max_rows,
        max(0, value("batch_timeout_micros", 0)) / 1e6,
        value("max_enqueued_batches", Rules.max_batches),
        allowed,
        parameters.pad_variable_length_inputs,
        split,
    )
