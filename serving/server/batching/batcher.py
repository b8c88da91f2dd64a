"""Joins requests that wait at the same time into one run of the graph.

Enters: calls of several threads for one model with the same inputs and
outputs. Each waits in its queue until the batch is full or has waited long
enough; one run answers all and every caller gets its rows. Rules and words
are those of TensorFlow Serving's batching session, but for one: requests of
other shapes, which it refuses when they meet, get batches of their own. Worth
it for models whose cost grows slower than their rows, not for tiny ones.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from serving.errors import ServingError, invalid
from serving.releases import config_text
from serving.server import cpus
from serving.server.batching import tensors
from serving.server.batching.rules import Rules, rules_of
from serving.server.runtime.bundle import (
    Bundle,
    Endpoint,
    Feeds,
    Run,
    Signature,
)
from serving.server.telemetry import events
from serving.server.telemetry.metrics import Metrics
from serving.wire import server_config_pb2

PER_MODEL_FILE = "batching_params.pbtxt"


@dataclass
class _Task:
    """A request, or a part of one, that waits."""

    feeds: Feeds
    rows: int
    deadline: float | None
    entered: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)
    outputs: list[np.ndarray] = field(default_factory=list)
    error: BaseException | None = None


@dataclass(eq=False)
class _Batch:
    """Requests that will run together.

    Attributes:
        key: Inputs and outputs that all of them have.
        form: Dtypes and shapes that all of them have, None for any.
        is_closed: Whether later ones wait in a batch behind it.
    """

    batcher: "Batcher"
    signature: Signature
    fetches: list[Endpoint]
    key: tuple[object, ...]
    form: tensors.Form | None
    tasks: list[_Task]
    is_closed: bool

    def ready_at(self) -> float:
        """When it may run."""
        rules = self.batcher.rules
        if self.is_closed or _rows(self.tasks) >= rules.max_run_rows:
            return 0.0
        return self.tasks[0].entered + rules.wait_seconds


def _rows(tasks: Sequence[_Task]) -> int:
    return sum(task.rows for task in tasks)


class Scheduler:
    """The threads that run batches, shared by all models.

    Attributes:
        batches: That wait, in the order in which they were begun.
        changed: Guards them.
    """

    def __init__(self, threads: int) -> None:
        self.changed = threading.Condition()
        self.batches: list[_Batch] = []
        for number in range(threads):
            threading.Thread(
                target=self._work, name=f"batch-{number}", daemon=True
            ).start()

    def _work(self) -> None:
        while True:
            with self.changed:
                batch = self._next()
            batch.batcher.process(batch)

    def _next(self) -> _Batch:
        """Waits for a batch that may run, and takes it."""
        while True:
            now = time.monotonic()
            times = [batch.ready_at() for batch in self.batches]
            ready = [
                batch
                for batch, ready_at in zip(self.batches, times, strict=True)
                if ready_at <= now
            ]
            if ready:
                # The other models come first the next time.
                batch = min(ready, key=lambda batch: batch.batcher.served)
                batch.batcher.served = now
                self.batches.remove(batch)
                return batch
            self.changed.wait(min(times) - now if times else None)


@dataclass(eq=False)
class Batcher:
    """Batches the requests of one loaded version.

    Attributes:
        name: Of the threads that run batches, for the metrics.
        served: When a batch of it was last taken, of the monotonic clock.
    """

    run: Run
    name: str
    rules: Rules
    scheduler: Scheduler
    metrics: Metrics
    served: float = 0.0

    def run_tensors(
        self,
        signature: Signature,
        feeds: Feeds,
        fetches: list[Endpoint],
        timeout_seconds: float | None,
    ) -> list[np.ndarray]:
        """As `Bundle.run_alone`, together with other callers."""
        rows = tensors.count_rows(feeds)
        if not rows:
            # There is nothing to share, and no row to fill a batch up with.
            return self.run(signature, feeds, fetches, timeout_seconds)
        if rows > self.rules.max_rows and not self.rules.split:
            raise invalid(
                f"Task size {rows} is larger than maximum input batch size "
                f"{self.rules.max_rows}"
            )
        deadline = None
        if timeout_seconds is not None:
            deadline = time.monotonic() + timeout_seconds
        form = None if self.rules.pad else tensors.form_of(feeds)
        key = (frozenset(feeds), *fetches)
        begun = _Batch(self, signature, fetches, key, form, [], False)
        with self.scheduler.changed:
            tasks = self._enqueue(begun, feeds, rows, deadline)
            self.scheduler.changed.notify(len(tasks))
        # All of them, also after one has failed: who asked keeps the model
        # loaded, and the others may still be running in it.
        for task in tasks:
            task.done.wait()
        for task in tasks:
            if task.error is not None:
                raise task.error
        return tensors.join([task.outputs for task in tasks])

    def _enqueue(
        self, begun: _Batch, feeds: Feeds, rows: int, deadline: float | None
    ) -> list[_Task]:
        """Adds the parts of one request to batches of its form."""
        queue = [
            batch
            for batch in self.scheduler.batches
            if batch.batcher is self and batch.key == begun.key
        ]
        limit = self.rules.max_run_rows
        last = begun
        for batch in queue:
            if not batch.is_closed and batch.form == begun.form:
                last = batch
        room = limit - _rows(last.tasks)
        tasks = [
            _Task(part, count, deadline)
            for part, count in tensors.split(feeds, rows, room, limit)
        ]
        filled = [list(last.tasks)]
        for task in tasks:
            if _rows(filled[-1]) + task.rows > limit:
                filled.append([])
            filled[-1].append(task)
        is_new = last is begun
        if len(queue) + len(filled) - (not is_new) > self.rules.max_batches:
            raise ServingError(
                "The batch scheduling queue to which this task was submitted "
                "is full",
                "UNAVAILABLE",
            )
        batches = [last, *(replace(begun) for _ in filled[1:])]
        for batch, held in zip(batches, filled, strict=True):
            batch.tasks, batch.is_closed = held, batch is not batches[-1]
        self.scheduler.batches += batches[not is_new :]
        return tasks

    def process(self, batch: _Batch) -> None:
        """Runs a batch and gives every task its rows or the error."""
        tasks = batch.tasks
        try:
            now = time.monotonic()
            for task in tasks:
                self.metrics.queuing_latency.add(
                    (self.name,), now - task.entered
                )
            outputs = self._answer(batch, now)
            for task, part in zip(tasks, outputs, strict=True):
                task.outputs = part
        except BaseException as error:
            for task in tasks:
                task.error = _copy(error)
        finally:
            for task in tasks:
                task.done.set()

    def _answer(self, batch: _Batch, now: float) -> list[list[np.ndarray]]:
        tasks, signature = batch.tasks, batch.signature
        deadlines = [task.deadline for task in tasks]
        timeout = None
        if None not in deadlines:
            timeout = max(filter(None, deadlines)) - now
            if timeout <= 0:
                raise ServingError(
                    "Run() timeout exceeded while waiting in batching queue",
                    "RESOURCE_EXHAUSTED",
                )
        counts = [task.rows for task in tasks]
        total = sum(counts)
        # A split may leave more rows than any size that is allowed.
        filled = next(
            (size for size in self.rules.allowed_rows if size >= total), total
        )
        inputs = signature.definition.inputs
        names = {
            tensor: inputs[alias].name
            for alias, tensor in signature.feeds.items()
        }
        merged = tensors.merge(
            [task.feeds for task in tasks],
            filled - total,
            self.rules.pad,
            names,
        )
        self.metrics.batch_run_count.add(())
        outputs = self.run(signature, merged, batch.fetches, timeout)
        return tensors.share(outputs, counts, filled)


def _copy(error: BaseException) -> BaseException:
    # Raised in several threads, one object would mix their tracebacks.
    if isinstance(error, ServingError):
        return ServingError(str(error), error.code)
    return error


def joiner(
    parameters_file: str, per_model: bool, metrics: Metrics
) -> Callable[[str, Bundle], None]:
    """What the loader calls to make requests to a model share runs.

    Args:
        parameters_file: Text of `BatchingParameters`, empty for defaults.
        per_model: Whether each version brings its own; one without is not
            batched.
        metrics: Gets the time spent waiting.
    """
    common = server_config_pb2.BatchingParameters()
    if parameters_file:
        config_text.read(parameters_file, common, "--batching_parameters_file")
    if rules_of(common).pad:
        # TensorFlow Serving's own way of padding, and so ours.
        events.warning(
            "batching_pads",
            parameters=parameters_file,
            effect="shorter rows end in copies of their first value, which "
            "our exports read as history and candidates: wrong rankings",
        )
    threads = cpus.available()
    if common.HasField("num_batch_threads"):
        threads = max(1, common.num_batch_threads.value)
    scheduler = Scheduler(threads)
    pool = common.thread_pool_name.value or "batch_threads"

    def join(name: str, bundle: Bundle) -> None:
        parameters = common
        if per_model:
            path = bundle.directory / PER_MODEL_FILE
            if not path.exists():
                events.info("not_batched", model=name, absent=path)
                return
            parameters = config_text.read(
                path,
                server_config_pb2.BatchingParameters(),
                "--enable_per_model_batching_parameters",
            )
        rules = rules_of(parameters)
        made = Batcher(bundle.run_alone, pool, rules, scheduler, metrics)
        bundle.run = made.run_tensors

    return join
