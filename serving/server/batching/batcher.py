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
from dataclasses import dataclass, field

import numpy as np

from serving.errors import ServingError, invalid
from serving.releases import config_text
from serving.server import cpus
from serving.server.batching import tensors
from serving.server.batching.rules import Rules, rules_of
from serving.server.runtime.bundle import Bundle, Feeds, Run, Signature
from serving.server.runtime.session import Endpoint
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
        form: Dtypes and shapes that all of them have, None for any.
        tasks: The requests or their parts.
        is_closed: Whether later ones wait in a batch behind it.
    """

    form: tensors.Form | None
    tasks: list[_Task]
    is_closed: bool


class _Queue:
    """Batches of one set of inputs and outputs; guarded by the scheduler."""

    def __init__(
        self,
        batcher: "Batcher",
        signature: Signature,
        fetches: list[Endpoint],
    ) -> None:
        self.batcher = batcher
        self.signature = signature
        self.fetches = fetches
        self._batches: list[_Batch] = []

    def add(self, tasks: Sequence[_Task]) -> None:
        """Adds the parts of one request to batches of their form."""
        rules = self.batcher.rules
        last = self._open(tasks[0].feeds)
        batches = [list(last.tasks)] if last else [[]]
        for task in tasks:
            if _rows(batches[-1]) + task.rows > rules.max_run_rows:
                batches.append([])
            batches[-1].append(task)
        if len(self._batches) + len(batches) - bool(last) > rules.max_batches:
            raise ServingError(
                "The batch scheduling queue to which this task was submitted "
                "is full",
                "UNAVAILABLE",
            )
        if last:
            last.tasks = batches.pop(0)
            last.is_closed = bool(batches)
        form = self._form(tasks[0].feeds)
        for batch in batches:
            self._batches.append(_Batch(form, batch, batch is not batches[-1]))

    def room(self, feeds: Feeds) -> int:
        """Rows that the open batch of a request's form still takes."""
        last = self._open(feeds)
        used = _rows(last.tasks) if last else 0
        return self.batcher.rules.max_run_rows - used

    def _form(self, feeds: Feeds) -> tensors.Form | None:
        return None if self.batcher.rules.pad else tensors.form_of(feeds)

    def _open(self, feeds: Feeds) -> _Batch | None:
        form = self._form(feeds)
        for batch in self._batches:
            if not batch.is_closed and batch.form == form:
                return batch
        return None

    def ready_at(self) -> float | None:
        """When a batch may run, None when there is none."""
        return min(map(self._batch_ready_at, self._batches), default=None)

    def _batch_ready_at(self, batch: _Batch) -> float:
        rules = self.batcher.rules
        if batch.is_closed or _rows(batch.tasks) >= rules.max_run_rows:
            return 0.0
        return batch.tasks[0].entered + rules.wait_seconds

    def take(self) -> list[_Task]:
        """Removes the batch that is ready first."""
        batch = min(self._batches, key=self._batch_ready_at)
        self._batches.remove(batch)
        return batch.tasks


def _rows(tasks: Sequence[_Task]) -> int:
    return sum(task.rows for task in tasks)


class Scheduler:
    """The threads that run batches, shared by all models.

    Args:
        threads: How many.
    """

    def __init__(self, threads: int) -> None:
        self._changed = threading.Condition()
        self._queues: list[_Queue] = []
        for number in range(threads):
            threading.Thread(
                target=self._work, name=f"batch-{number}", daemon=True
            ).start()

    def register(self, queue: _Queue) -> None:
        """Makes a queue known."""
        with self._changed:
            self._queues.append(queue)

    def forget(self, batcher: "Batcher") -> None:
        """Drops the queues of a model that is being unloaded."""
        with self._changed:
            self._queues = [q for q in self._queues if q.batcher is not batcher]

    def submit(
        self, queue: _Queue, feeds: Feeds, make: Callable[[int], list[_Task]]
    ) -> list[_Task]:
        """Adds a request.

        Args:
            queue: Where.
            feeds: Of the request.
            make: From the room in the open batch to the parts.

        Raises:
            ServingError: UNAVAILABLE if the queue is full.
        """
        with self._changed:
            tasks = make(queue.room(feeds))
            queue.add(tasks)
            self._changed.notify(len(tasks))
        return tasks

    def _work(self) -> None:
        while True:
            with self._changed:
                while True:
                    found = self._next()
                    if isinstance(found, tuple):
                        break
                    self._changed.wait(found)
                queue, tasks = found
            queue.batcher.process(queue.signature, queue.fetches, tasks)

    def _next(self) -> tuple[_Queue, list[_Task]] | float | None:
        """A batch to run, or how long to wait for one."""
        now = time.monotonic()
        best: float | None = None
        for place, queue in enumerate(self._queues):
            ready = queue.ready_at()
            if ready is None:
                continue
            if ready <= now:
                # The others come first the next time.
                self._queues.append(self._queues.pop(place))
                return queue, queue.take()
            best = ready if best is None else min(best, ready)
        return None if best is None else best - now


class Batcher:
    """Batches the requests of one loaded version.

    Args:
        run: Runs the graph once.
        name: Of the threads that run batches, for the metrics.
        rules: How batches are formed.
        scheduler: Runs them.
        metrics: Gets the time spent waiting and the number of runs.
    """

    def __init__(
        self,
        run: Run,
        name: str,
        rules: Rules,
        scheduler: Scheduler,
        metrics: Metrics,
    ) -> None:
        self.rules = rules
        self._run = run
        self._name = name
        self._scheduler = scheduler
        self._metrics = metrics
        self._queues: dict[object, _Queue] = {}
        self._lock = threading.Lock()

    def run_tensors(
        self,
        signature: Signature,
        feeds: Feeds,
        fetches: list[Endpoint],
        timeout_seconds: float | None,
    ) -> list[np.ndarray]:
        """As `Bundle.run_alone`, together with other callers.

        Raises:
            ServingError: If the request cannot be batched or its batch fails.
        """
        rows = tensors.count_rows(feeds)
        if rows > self.rules.max_rows and not self.rules.split:
            raise invalid(
                f"Task size {rows} is larger than maximum input batch size "
                f"{self.rules.max_rows}"
            )
        deadline = None
        if timeout_seconds is not None:
            deadline = time.monotonic() + timeout_seconds

        def make(room: int) -> list[_Task]:
            parts = tensors.split(feeds, rows, room, self.rules.max_run_rows)
            return [_Task(part, count, deadline) for part, count in parts]

        queue = self._queue(signature, feeds, fetches)
        tasks = self._scheduler.submit(queue, feeds, make)
        # All of them, also after one has failed: who asked keeps the model
        # loaded, and the others may still be running in it.
        for task in tasks:
            task.done.wait()
        for task in tasks:
            if task.error is not None:
                raise task.error
        return tensors.join([task.outputs for task in tasks])

    def _queue(
        self, signature: Signature, feeds: Feeds, fetches: list[Endpoint]
    ) -> _Queue:
        key = (frozenset(feeds), tuple(fetches))
        with self._lock:
            queue = self._queues.get(key)
            if queue is None:
                queue = _Queue(self, signature, list(fetches))
                self._queues[key] = queue
                self._scheduler.register(queue)
        return queue

    def process(
        self, signature: Signature, fetches: list[Endpoint], tasks: list[_Task]
    ) -> None:
        """Runs a batch and gives every task its rows or the error."""
        try:
            now = time.monotonic()
            for task in tasks:
                self._metrics.queuing_latency.add(
                    (self._name,), now - task.entered
                )
            outputs = self._answer(signature, fetches, tasks, now)
            for task, part in zip(tasks, outputs, strict=True):
                task.outputs = part
        except BaseException as error:
            for task in tasks:
                task.error = _copy(error)
        finally:
            for task in tasks:
                task.done.set()

    def _answer(
        self,
        signature: Signature,
        fetches: list[Endpoint],
        tasks: list[_Task],
        now: float,
    ) -> list[list[np.ndarray]]:
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
        self._metrics.batch_run_count.add(())
        outputs = self._run(signature, merged, fetches, timeout)
        return tensors.share(outputs, counts, filled)

    def stop(self) -> None:
        """Frees what belongs to the version; nobody uses it any more."""
        self._scheduler.forget(self)


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

    Raises:
        ServingError: If the file cannot be used.
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
        bundle.run, bundle.stop = made.run_tensors, made.stop

    return join
