"""Counters and histograms under TensorFlow Serving's names, for Prometheus.

Metric names are TensorFlow's with every character outside [A-Za-z0-9_] turned
into ":", which Prometheus permits and its Python client does not write (it
appends "_total"), so the page is written here in the same text format, and
the client library adds the process's own metrics below.
"""

import abc
import bisect
import itertools
import re
import threading

import prometheus_client

# Upper bounds in microseconds: 10 x 1.8^i.
LATENCY_BUCKETS = tuple(10 * 1.8**power for power in range(33))
_COUNT_BUCKETS = tuple(float(2**power) for power in range(15))
_QUEUE_BUCKETS = tuple(100 * 1.2**power for power in range(52))
# Callers choose the names of models that there are not: so many of them are
# shown, and so much of each, and none takes the place of a model.
_MAX_UNKNOWN = 100
_MAX_NAME = 64
_OTHERS = "other"

Labels = tuple[str, ...]


class _Metric(abc.ABC):
    """Numbers by label values, under one name."""

    kind = ""

    def __init__(self, name: str, *labels: str) -> None:
        self.name = name
        self._shown = re.sub(r"[^A-Za-z0-9_]", ":", name)
        self._labels = labels
        self._lock = threading.Lock()
        self._rows: dict[Labels, list[float]] = {}

    def lines(self) -> list[str]:
        """Rows of the page."""
        with self._lock:
            rows = sorted((key, list(row)) for key, row in self._rows.items())
        lines = [f"# TYPE {self._shown} {self.kind}"]
        for labels, row in rows:
            lines += self._written(labels, row)
        return lines

    @abc.abstractmethod
    def _written(self, labels: Labels, row: list[float]) -> list[str]:
        """Lines of one row."""

    def _line(
        self, labels: Labels, value: str, suffix: str = "", **more: str
    ) -> str:
        named = dict(zip(self._labels, labels, strict=True)) | more
        text = ",".join(
            f'{name}="{_escape(value)}"' for name, value in named.items()
        )
        return f"{self._shown}{suffix}{{{text}}} {value}"


class Counter(_Metric):
    """A number by label values that only grows."""

    kind = "counter"

    def add(self, labels: Labels, amount: int = 1) -> None:
        """Adds to one row."""
        with self._lock:
            self._rows.setdefault(labels, [0])[0] += amount

    def first(self) -> int:
        """The first row's number."""
        with self._lock:
            return int(next(iter(self._rows.values()), [0])[0])

    def _written(self, labels: Labels, row: list[float]) -> list[str]:
        return [self._line(labels, str(row[0]))]


class Histogram(_Metric):
    """Counts of observations by label values and upper bound, and their sum."""

    kind = "histogram"

    def __init__(
        self, name: str, buckets: tuple[float, ...], *labels: str
    ) -> None:
        super().__init__(name, *labels)
        self._buckets = buckets

    def observe(self, labels: Labels, value: float) -> None:
        """Adds one observation."""
        place = bisect.bisect_right(self._buckets, value)
        with self._lock:
            row = self._rows.get(labels)
            if row is None:
                row = self._rows[labels] = [0] * (len(self._buckets) + 2)
            row[place] += 1
            row[-1] += value

    def add(self, labels: Labels, seconds: float) -> None:
        """Adds a duration, kept in microseconds."""
        self.observe(labels, seconds * 1e6)

    def _written(self, labels: Labels, row: list[float]) -> list[str]:
        *counts, total = row
        bounds = [f"{bound:.6g}" for bound in self._buckets] + ["+Inf"]
        return [
            *(
                self._line(labels, str(count), "_bucket", le=bound)
                for bound, count in zip(
                    bounds, itertools.accumulate(counts), strict=True
                )
            ),
            self._line(labels, f"{total:.6g}", "_sum"),
            self._line(labels, str(sum(counts)), "_count"),
        ]


class Metrics:
    """All metrics of one server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unknown: set[str] = set()
        serving = "/tensorflow/serving"

        def latency(name: str, *labels: str) -> Histogram:
            return Histogram(f"{serving}/{name}", LATENCY_BUCKETS, *labels)

        self.request_latency = latency(
            "request_latency", "model_name", "API", "entrypoint"
        )
        self.runtime_latency = latency(
            "runtime_latency", "model_name", "API", "runtime"
        )
        self.warmup_latency = latency(
            "model_warmup_latency", "model_path", "status"
        )
        self.request_count = Counter(
            f"{serving}/request_count", "model_name", "status"
        )
        # TensorFlow Serving has no such metric: it tells a canary from the
        # version beside it.
        self.version_request_count = Counter(
            "/recommender/version_request_count",
            *("model_name", "version", "status"),
        )
        self.request_log_count = Counter(
            f"{serving}/request_log_count", "model_name", "status_code"
        )
        self.example_counts = Histogram(
            f"{serving}/request_example_counts", _COUNT_BUCKETS, "model"
        )
        self.example_count_total = Counter(
            f"{serving}/request_example_count_total", "model"
        )
        self.load_attempts = Counter(
            "/tensorflow/cc/saved_model/load_attempt_count",
            *("model_path", "status"),
        )
        batching = f"{serving}/batching_session"
        self.queuing_latency = Histogram(
            f"{batching}/queuing_latency", _QUEUE_BUCKETS, "thread_pool_name"
        )
        self.batch_run_count = Counter(f"{batching}/wrapped_run_count")
        self._all = {
            metric.name: metric
            for metric in vars(self).values()
            if isinstance(metric, _Metric)
        }

    def unknown_name(self, name: str) -> str:
        """What the page calls a model that nobody has, within bounds."""
        name = name[:_MAX_NAME]
        with self._lock:
            if name in self._unknown or len(self._unknown) < _MAX_UNKNOWN:
                self._unknown.add(name)
                return name
        return _OTHERS

    def count_examples(self, model: str, count: int) -> None:
        """Counts the examples of one request."""
        self.example_counts.observe((model,), count)
        self.example_count_total.add((model,), count)

    def value(self, name: str) -> int:
        """A counter's first number by TensorFlow's name, 0 if unknown."""
        metric = self._all.get(name)
        return metric.first() if isinstance(metric, Counter) else 0

    def page(self) -> str:
        """The text that Prometheus reads."""
        lines: list[str] = []
        for name in sorted(self._all):
            lines += self._all[name].lines()
        process = prometheus_client.generate_latest().decode()
        return "\n".join(lines) + "\n" + process


def _escape(value: str) -> str:
    value = value.replace("\\", "\\\\").replace('"', '\\"')
    return value.replace("\n", "\\n")
