"""Counters and histograms under TensorFlow Serving's names, for Prometheus.

Metric names are TensorFlow's with every character outside [A-Za-z0-9_] turned
into ":", which Prometheus permits and its Python client does not write (it
appends "_total"), so the page is written here in the same text format, and
the client library adds the process's own metrics below.
"""

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


class _Metric:
    """Numbers by label values, under one name."""

    def __init__(self, name: str, labels: Labels) -> None:
        self.name = name
        self._shown = re.sub(r"[^A-Za-z0-9_]", ":", name)
        self._labels = labels
        self._lock = threading.Lock()

    def _row(self, labels: Labels, suffix: str = "", **more: str) -> str:
        named = dict(zip(self._labels, labels, strict=True)) | more
        text = ",".join(
            f'{name}="{_escape(value)}"' for name, value in named.items()
        )
        return f"{self._shown}{suffix}{{{text}}}"


class Counter(_Metric):
    """A number by label values that only grows."""

    def __init__(self, name: str, *labels: str) -> None:
        super().__init__(name, labels)
        self._values: dict[Labels, int] = {}

    def add(self, labels: Labels, amount: int = 1) -> None:
        """Adds to one row."""
        values = self._values
        with self._lock:
            values[labels] = values.get(labels, 0) + amount

    def first(self) -> int:
        """The first row's number."""
        with self._lock:
            return next(iter(self._values.values()), 0)

    def lines(self) -> list[str]:
        """Rows of the page."""
        with self._lock:
            rows = sorted(self._values.items())
        return [f"# TYPE {self._shown} counter"] + [
            f"{self._row(labels)} {value}" for labels, value in rows
        ]


class Histogram(_Metric):
    """Counts of observations by label values and upper bound."""

    def __init__(
        self, name: str, buckets: tuple[float, ...], *labels: str
    ) -> None:
        super().__init__(name, labels)
        self._buckets = buckets
        self._rows: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, labels: Labels, value: float) -> None:
        """Adds one observation."""
        place = bisect.bisect_right(self._buckets, value)
        with self._lock:
            row = self._rows.get(labels)
            if row is None:
                row = self._rows[labels] = [0] * (len(self._buckets) + 1)
                self._sums[labels] = 0.0
            row[place] += 1
            self._sums[labels] += value

    def add(self, labels: Labels, seconds: float) -> None:
        """Adds a duration, kept in microseconds."""
        self.observe(labels, seconds * 1e6)

    def lines(self) -> list[str]:
        """Rows of the page."""
        with self._lock:
            rows = sorted((key, list(row)) for key, row in self._rows.items())
            sums = dict(self._sums)
        lines = [f"# TYPE {self._shown} histogram"]
        bounds = [f"{bound:.6g}" for bound in self._buckets] + ["+Inf"]
        for labels, row in rows:
            totals = itertools.accumulate(row)
            for bound, total in zip(bounds, totals, strict=True):
                lines.append(
                    f"{self._row(labels, '_bucket', le=bound)} {total}"
                )
            lines.append(f"{self._row(labels, '_sum')} {sums[labels]:.6g}")
            lines.append(f"{self._row(labels, '_count')} {sum(row)}")
        return lines


class Metrics:
    """All metrics of one server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unknown: set[str] = set()
        prefix = "/tensorflow/serving/"

        def latency(name: str, *labels: str) -> Histogram:
            return Histogram(prefix + name, LATENCY_BUCKETS, *labels)

        self.request_count = Counter(
            f"{prefix}request_count", "model_name", "status"
        )
        self.request_latency = latency(
            "request_latency", "model_name", "API", "entrypoint"
        )
        self.runtime_latency = latency(
            "runtime_latency", "model_name", "API", "runtime"
        )
        self.warmup_latency = latency(
            "model_warmup_latency", "model_path", "status"
        )
        self.example_counts = Histogram(
            f"{prefix}request_example_counts", _COUNT_BUCKETS, "model"
        )
        self.example_count_total = Counter(
            f"{prefix}request_example_count_total", "model"
        )
        self.load_attempts = Counter(
            "/tensorflow/cc/saved_model/load_attempt_count",
            *("model_path", "status"),
        )
        self.queuing_latency = Histogram(
            f"{prefix}batching_session/queuing_latency",
            _QUEUE_BUCKETS,
            "thread_pool_name",
        )
        self.batch_run_count = Counter(
            f"{prefix}batching_session/wrapped_run_count"
        )
        self._all: dict[str, Counter | Histogram] = {
            metric.name: metric
            for metric in vars(self).values()
            if isinstance(metric, Counter | Histogram)
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
