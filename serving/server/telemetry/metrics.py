"""Counters and histograms under TensorFlow Serving's names, for Prometheus.

Metric names are TensorFlow's with every character outside [A-Za-z0-9_] turned
into ":", which Prometheus permits and its Python client does not write (it
appends "_total"), so the page is written here in the same text format, and
the client library adds the process's own metrics below.
"""

import bisect
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


class Counter:
    """A number by label values that only grows."""

    def __init__(self, name: str, *labels: str) -> None:
        self.name = name
        self.labels = labels
        self._lock = threading.Lock()
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
        name = _prometheus_name(self.name)
        return [f"# TYPE {name} counter"] + [
            f"{name}{{{_render(self.labels, labels)}}} {value}"
            for labels, value in rows
        ]


class Histogram:
    """Counts of observations by label values and upper bound."""

    def __init__(
        self, name: str, buckets: tuple[float, ...], *labels: str
    ) -> None:
        self.name = name
        self.labels = labels
        self._buckets = buckets
        self._lock = threading.Lock()
        self._rows: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, labels: Labels, value: float) -> None:
        """Adds one observation."""
        place = bisect.bisect_right(self._buckets, value)
        with self._lock:
            row = self._rows.get(labels)
            if row is None:
                empty = [0] * (len(self._buckets) + 1)
                row = self._rows.setdefault(labels, empty)
                self._sums.setdefault(labels, 0.0)
            row[place] += 1
            self._sums[labels] += value

    def add(self, labels: Labels, seconds: float) -> None:
        """Adds a duration, kept in microseconds."""
        self.observe(labels, seconds * 1e6)

    def first(self) -> int:
        """Histograms have no single number."""
        return 0

    def lines(self) -> list[str]:
        """Rows of the page."""
        with self._lock:
            rows = sorted((key, list(row)) for key, row in self._rows.items())
            sums = dict(self._sums)
        name = _prometheus_name(self.name)
        lines = [f"# TYPE {name} histogram"]
        bounds = [f"{bound:.6g}" for bound in self._buckets] + ["+Inf"]
        for labels, row in rows:
            text = _render(self.labels, labels)
            total = 0
            for bound, count in zip(bounds, row, strict=True):
                total += count
                comma = "," if text else ""
                lines.append(
                    f'{name}_bucket{{{text}{comma}le="{bound}"}} {total}'
                )
            lines.append(f"{name}_sum{{{text}}} {sums[labels]:.6g}")
            lines.append(f"{name}_count{{{text}}} {total}")
        return lines


class Metrics:
    """All metrics of one server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unknown: set[str] = set()
        prefix = "/tensorflow/serving/"
        self.request_count = Counter(
            prefix + "request_count", "model_name", "status"
        )
        self.request_latency = Histogram(
            prefix + "request_latency",
            LATENCY_BUCKETS,
            "model_name",
            "API",
            "entrypoint",
        )
        self.runtime_latency = Histogram(
            prefix + "runtime_latency",
            LATENCY_BUCKETS,
            "model_name",
            "API",
            "runtime",
        )
        self.example_counts = Histogram(
            prefix + "request_example_counts", _COUNT_BUCKETS, "model"
        )
        self.example_count_total = Counter(
            prefix + "request_example_count_total", "model"
        )
        self.load_attempts = Counter(
            "/tensorflow/cc/saved_model/load_attempt_count",
            "model_path",
            "status",
        )
        self.warmup_latency = Histogram(
            prefix + "model_warmup_latency",
            LATENCY_BUCKETS,
            "model_path",
            "status",
        )
        self.queuing_latency = Histogram(
            prefix + "batching_session/queuing_latency",
            _QUEUE_BUCKETS,
            "thread_pool_name",
        )
        self.batch_run_count = Counter(
            prefix + "batching_session/wrapped_run_count"
        )
        self._all: dict[str, Counter | Histogram] = {
            metric.name: metric
            for metric in (
                self.request_count,
                self.request_latency,
                self.runtime_latency,
                self.example_counts,
                self.example_count_total,
                self.load_attempts,
                self.warmup_latency,
                self.queuing_latency,
                self.batch_run_count,
            )
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
        return metric.first() if metric else 0

    def page(self) -> str:
        """The text that Prometheus reads."""
        lines: list[str] = []
        for name in sorted(self._all):
            lines += self._all[name].lines()
        process = prometheus_client.generate_latest().decode()
        return "\n".join(lines) + "\n" + process


def _prometheus_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", ":", name)


def _render(names: Labels, values: Labels) -> str:
    return ",".join(
        f'{name}="{_escape(value)}"'
        for name, value in zip(names, values, strict=True)
    )


def _escape(value: str) -> str:
    value = value.replace("\\", "\\\\").replace('"', '\\"')
    return value.replace("\n", "\\n")
