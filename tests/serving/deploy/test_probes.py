"""What Kubernetes asks the servers, asked without a cluster."""

import subprocess
import urllib.request

import pytest

from serving.server import flags
from tests.serving.deploy.test_deploy import DEPLOY, deployments
from tests.support import serving_models
from tests.support.ports import free_port
from tests.support.serving_calls import reload_request, running, states
from tests.support.waiting import eventually

POD = {
    found["metadata"]["name"]: found["spec"]["template"]["spec"]
    for found in deployments()
}


def container(name):
    (found,) = POD[name]["containers"]
    return found


def group(name):
    """The models that a pod's pointer writes for its server."""
    (pointer,) = POD[name]["initContainers"]
    (given,) = (part for part in pointer["args"] if "--group=" in part)
    return given.rpartition("=")[2].split(",")


def passes(probe, port, config):
    """Whether a probe of a pod would pass with this REST port and pointer."""
    if "exec" in probe:
        _, script, pointer = probe["exec"]["command"]
        assert pointer == "/pointers/stock.config"
        text = (DEPLOY / script.strip("/")).read_text()
        command = ["bash", "-c", text.replace("8501", str(port)), "ready"]
        run = subprocess.run([*command, str(config)], capture_output=True)
        return not run.returncode
    url = f"http://127.0.0.1:{port}{probe['httpGet']['path']}"
    try:
        return urllib.request.urlopen(url, timeout=10).status == 200
    except OSError:
        return False


@pytest.mark.parametrize("name", ["retrieval", "ranking"])
def test_a_pod_is_ready_when_all_its_models_answer(name, tmp_path):
    models = group(name)
    for model in models:
        serving_models.publish(
            serving_models.originals()["third"], tmp_path / model, 1
        )
    config = tmp_path / "models.config"
    config.write_text(
        str(
            reload_request(
                *({"name": m, "base_path": str(tmp_path / m)} for m in models)
            ).config
        )
    )
    port = free_port()
    ready = container(name)["readinessProbe"]
    live = container(name)["livenessProbe"]
    with running(
        f"--model_config_file={config}",
        f"--rest_api_port={port}",
        "--file_system_poll_wait_seconds=0.05",
    ) as (_, remote):
        assert passes(ready, port, config)
        for model in models:
            (tmp_path / model / "1").rename(tmp_path / "gone")
            eventually(lambda model=model: states(remote, model) == {1: "END"})
            assert not passes(ready, port, config), model
            assert "httpGet" not in live or passes(live, port, config)
            (tmp_path / "gone").rename(tmp_path / model / "1")
            eventually(lambda: passes(ready, port, config))
    assert not passes(ready, port, config)


@pytest.mark.parametrize("name", ["retrieval", "ranking"])
def test_liveness_does_not_share_the_threads_of_requests(name):
    probe = container(name)["livenessProbe"]
    # The kernel answers the one, a thread of its own the other.
    assert probe.get("tcpSocket") or probe["httpGet"]["path"] == "/healthz"
    ports = {port["name"] for port in container(name)["ports"]}
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        for check in container(name)[kind].values():
            assert not isinstance(check, dict) or (
                check.get("port", "http") in ports
            )


@pytest.mark.parametrize("name", ["retrieval", "ranking"])
def test_a_large_model_may_take_an_hour_to_load(name):
    probe = container(name)["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 3600


def test_the_grace_period_covers_what_stopping_takes():
    drain = flags.parse(["--model_base_path=/m"]).drain_seconds
    for name, takes in (("retrieval", drain), ("ranking", 0)):
        pause = container(name)["lifecycle"]["preStop"]["exec"]["command"]
        grace = POD[name]["terminationGracePeriodSeconds"]
        assert pause[0] == "sleep"
        assert grace >= int(pause[1]) + takes + 5, name


def test_threads_follow_the_limit():
    for name in POD:
        assert container(name)["resources"]["limits"]["cpu"]
    # Ours reads the quota, the stock image is told.
    stock = container("ranking")
    assert "--tensorflow_inter_op_parallelism=$(CPUS)" in stock["args"]
    assert "--tensorflow_intra_op_parallelism=1" in stock["args"]
    (given,) = stock["env"]
    assert given["name"] == "CPUS"
    field = given["valueFrom"]["resourceFieldRef"]
    assert field["resource"] == "limits.cpu"
