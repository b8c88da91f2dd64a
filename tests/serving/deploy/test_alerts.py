"""Alert rules and network policies, held against what the servers have."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from prometheus_client import parser

from pipeline import textfile
from serving.errors import ServingError
from serving.server.answers import predict
from serving.server.lifecycle import loader
from serving.server.telemetry import metrics as monitoring
from tests.serving.deploy.test_deploy import (
    DEPLOY,
    deployments,
    manifests,
    passes,
)
from tests.support import staged

RULES = DEPLOY / "alerts.yaml"
TRIED = Path(__file__).parent / "alerts_test.yaml"
# Prometheus' own.
KNOWN = {"up"}


def exported():
    """Every name on our metrics page, rows of histograms included."""
    metrics = monitoring.Metrics()
    metrics.request_latency.add(("m", "Predict", "GRPC"), 0.001)
    metrics.warmup_latency.add(("/m/1", "OK"), 0.001)
    metrics.load_attempts.add(("/m/1", "fail"))
    metrics.request_count.add(("m", "OK"))
    metrics.version_request_count.add(("m", "1", "OK"))
    metrics.request_log_count.add(("m", "OK"))
    return set(re.findall(r"^(:\w[\w:]*)\{", metrics.page(), re.M))


def written(folder):
    """Names and labels in the textfiles of a run that ended."""
    config = staged.released(folder)
    with textfile.written(config, "retrain"):
        pass
    found = {}
    for path in (folder / "artifacts" / textfile.DIRECTORY).iterdir():
        for family in parser.text_string_to_metric_families(path.read_text()):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def used(expression):
    """Names of metrics in an expression.

    What is followed by `{` or `[`, and ours, which may stand alone.
    """
    found = set(re.findall(r"([:\w]+)(?=[{\[])", expression))
    return found | set(re.findall(r"\brecommender_\w+", expression))


def test_every_rule_asks_for_metrics_that_exist(tmp_path):
    serving, runs = yaml.safe_load(RULES.read_text())["groups"]
    told = written(tmp_path)
    for group in (serving, runs):
        for rule in group["rules"]:
            found = used(rule["expr"])
            assert found, rule
            assert found <= exported() | told.keys() | KNOWN, rule
            assert rule["labels"]["severity"] in ("page", "warn")
            assert rule["annotations"]["summary"]
    assert {rule["alert"] for rule in serving["rules"]} == {
        *("NoReadyReplica", "ErrorRate", "LatencyP99", "VersionMismatch"),
        *("DegradedShare", "RequestLogLost", "LoadFailed", "ServerBehind"),
        "VersionErrorRate",
    }
    assert {rule["alert"] for rule in runs["rules"]} == {
        *("NoRun", "RunFailed", "GateRejected", "DataRefused", "NoRelease"),
        "TrialUndecided",
    }
    # What a textfile's name is asked for with, and told with, are the same.
    for rule in runs["rules"]:
        assert all(told[name] >= {"run"} for name in used(rule["expr"]))
    assert told["recommender_version_since_timestamp_seconds"] == {
        *("run", "role", "version")
    }
    # The check itself can fail.
    assert not used("rate(:tensorflow:serving:requests[5m])") <= exported()
    assert not used("recommender_last_run_status > 0") <= told.keys()


def test_every_alert_is_tried():
    """By promtool below, which is not everywhere; so at least it is there."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    tests = yaml.safe_load(TRIED.read_text())["tests"]
    fires, silent = set(), set()
    for one in tests:
        for case in one["alert_rule_test"]:
            (fires if case.get("exp_alerts") else silent).add(case["alertname"])
    names = {rule["alert"] for group in groups for rule in group["rules"]}
    assert fires == names
    assert silent >= names - {"DataRefused", "RequestLogLost"}


def test_prometheus_reads_the_rules():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    mounts = compose["services"]["prometheus"]["volumes"]
    (name,) = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())[
        "rule_files"
    ]
    assert f"./{RULES.name}:/etc/prometheus/{name}:ro" in mounts


def test_alerts_fire_on_trouble_and_not_on_a_good_day(tmp_path):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; Prometheus brings it")
    passes(promtool, "check", "rules", str(RULES))
    path = tmp_path / "tests.yaml"
    # As texts: a series "0x80" is no number of base 16.
    tests = yaml.load(TRIED.read_text(), yaml.BaseLoader)["tests"]
    for one in tests:
        # A week need not be looked at every half a minute.
        tried = {
            "rule_files": [str(RULES)],
            "evaluation_interval": one["interval"],
            "tests": [one],
        }
        path.write_text(yaml.safe_dump(tried))
        passes(promtool, "test", "rules", str(path))


def test_a_failed_load_is_counted(tmp_path):
    metrics = monitoring.Metrics()
    load = loader.Loader(predict.Limits(), metrics)
    with pytest.raises(ServingError, match="SavedModel"):
        load("m", tmp_path)
    row = f'model_path="{tmp_path}",status="fail"}} 1'
    assert f":load_attempt_count{{{row}\n" in metrics.page()


def allowed(policies, kind):
    """(who, port) pairs that the policies let in or out."""
    return [
        (peer, port["port"])
        for policy in policies
        for rule in policy["spec"].get(kind, [])
        for peer in rule["from" if kind == "ingress" else "to"]
        for port in rule["ports"]
    ]


def test_only_clients_pointers_and_monitoring_reach_the_servers():
    policies = [found for found in manifests() if "Policy" in found["kind"]]
    by_name = {found["metadata"]["name"]: found for found in policies}
    deny = by_name["default-deny"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    (selected,) = by_name["serving"]["spec"]["podSelector"]["matchExpressions"]
    assert set(selected["values"]) == {
        found["spec"]["template"]["metadata"]["labels"][selected["key"]]
        for found in deployments()
    }
    servers = {"podSelector": {"matchExpressions": [selected]}}
    incoming = allowed(policies, "ingress")
    assert [peer for peer, port in incoming if port == "http"] == [
        {
            "namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": "monitoring"}
            }
        }
    ]
    clients = [peer for peer, port in incoming if port == "grpc"]
    assert servers in clients
    clients.remove(servers)
    (client,) = clients
    assert client["podSelector"]["matchLabels"]
    # No peer is "everybody".
    for peer, _ in incoming + allowed(policies, "egress"):
        assert peer.get("podSelector") or peer["namespaceSelector"]
