"""The metrics page: names, labels, buckets, bounds."""

import re
import threading

from prometheus_client.parser import text_string_to_metric_families

from serving.server.telemetry import metrics as monitoring


def rows(page, name):
    """Rows of one metric: labels and value.

    The parser adds _total to a counter's name; Prometheus itself does not.
    """
    return [
        (sample.labels, sample.value)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name in (name, name + "_total")
    ]


def test_names_and_labels_are_the_original_ones():
    metrics = monitoring.Metrics()
    metrics.request_count.add(("m", "NOT_FOUND"))
    metrics.request_latency.add(("m", "predict", "REST"), 0.001)
    metrics.runtime_latency.add(("m", "Predict", "TF1"), 0.001)
    metrics.warmup_latency.add(("/models/m/1", "OK"), 0.001)
    metrics.queuing_latency.add(("batch_threads",), 0.001)
    metrics.batch_run_count.add(())
    metrics.count_examples("m", 3)
    page = metrics.page()
    prefix = ":tensorflow:serving:"
    assert f"# TYPE {prefix}request_count counter\n" in page
    assert (
        f'{prefix}request_count{{model_name="m",status="NOT_FOUND"}} 1\n'
        in page
    )
    labels = 'model_name="m",API="predict",entrypoint="REST"'
    assert f"{prefix}request_latency_count{{{labels}}} 1\n" in page
    labels = 'model_name="m",API="Predict",runtime="TF1"'
    assert f"{prefix}runtime_latency_sum{{{labels}}} 1000\n" in page
    labels = 'model_path="/models/m/1",status="OK"'
    assert f"{prefix}model_warmup_latency_count{{{labels}}} 1\n" in page
    assert f'{prefix}request_example_count_total{{model="m"}} 3\n' in page
    assert f'{prefix}request_example_counts_sum{{model="m"}} 3\n' in page
    name = f"{prefix}batching_session:queuing_latency_count"
    assert rows(page, name) == [({"thread_pool_name": "batch_threads"}, 1)]
    assert f"{prefix}batching_session:wrapped_run_count{{}} 1\n" in page


def test_buckets_are_10_times_1_8_to_the_power_in_microseconds():
    metrics = monitoring.Metrics()
    for microseconds in (5, 15, 20, 1e12):
        metrics.request_latency.add(
            ("m", "Predict", "GRPC"), microseconds / 1e6
        )
    found = rows(metrics.page(), ":tensorflow:serving:request_latency_bucket")
    bounds = [labels["le"] for labels, _ in found]
    assert bounds[:4] == ["10", "18", "32.4", "58.32"]
    assert bounds[-1] == "+Inf"
    assert len(bounds) == 34
    counts = [value for _, value in found]
    assert counts[:4] == [1, 2, 3, 3]
    assert counts[-2:] == [3, 4]


def test_metrics_are_declared_before_their_first_row():
    page = monitoring.Metrics().page()
    for name, kind in (
        ("request_count", "counter"),
        ("request_latency", "histogram"),
        ("runtime_latency", "histogram"),
        ("request_example_counts", "histogram"),
        ("request_example_count_total", "counter"),
        ("model_warmup_latency", "histogram"),
        ("batching_session:queuing_latency", "histogram"),
    ):
        assert f"# TYPE :tensorflow:serving:{name} {kind}\n" in page
    assert re.findall("^:tensorflow:.*", page, re.MULTILINE) == []


def test_labels_are_escaped():
    metrics = monitoring.Metrics()
    name = 'a"b\\c\nd'
    metrics.request_count.add((name, "OK"))
    found = rows(metrics.page(), ":tensorflow:serving:request_count")
    assert found == [({"model_name": name, "status": "OK"}, 1)]


def test_callers_cannot_make_names_without_end():
    metrics = monitoring.Metrics()
    found = {metrics.unknown_name(f"m{number}") for number in range(5_000)}
    assert len(found) <= 101
    assert "other" in found
    # One that was shown goes on being shown, one that was not is not.
    assert metrics.unknown_name("m0") == "m0"
    assert metrics.unknown_name("m4999") == "other"
    assert len(monitoring.Metrics().unknown_name("x" * 10**6)) <= 64


def test_no_count_is_lost_between_threads():
    metrics = monitoring.Metrics()

    def work():
        for _ in range(2_000):
            metrics.request_count.add(("m", "OK"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.value("/tensorflow/serving/request_count") == 16_000
    assert metrics.value("/tensorflow/serving/unheard_of") == 0
