"""The staging files, checked without a container engine.

Public validators hold every file against its schema or its best practices;
what they cannot know (flags our servers accept, metrics they export, files
that exist) is checked here; and each server's command runs as it stands in
compose.yaml, with mounts mapped to directories.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from serving.client import Query, RecommenderClient, ServingError
from serving.releases import pointer
from tests.support import environments
from tests.support.ports import free_port
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "serving" / "deploy"
BIN = Path(sys.executable).parent
# TensorFlow Serving 2.20's, those that we may want; written down from its
# documentation, not from our server.
STOCK_FLAGS = {
    *("port", "rest_api_port", "rest_api_num_threads", "grpc_max_threads"),
    *("model_config_file", "model_config_file_poll_wait_seconds"),
    "allow_version_labels_for_unavailable_models",
    *("file_system_poll_wait_seconds", "enable_batching"),
    *("batching_parameters_file", "monitoring_config_file"),
    *("enable_grpc_healthcheck_service", "grpc_channel_arguments"),
    *("tensorflow_session_parallelism",),
    *("tensorflow_intra_op_parallelism", "tensorflow_inter_op_parallelism"),
}
# What only our server knows.
OUR_FLAGS = {
    "enable_reload_rpc",
    "max_request_bytes",
    "max_tensor_bytes",
    "request_log_bytes",
}
STOCK_METRICS = {
    *(":tensorflow:serving:request_count",),
    *(":tensorflow:serving:request_latency",),
    *(":tensorflow:serving:runtime_latency",),
    *(":tensorflow:serving:model_warmup_latency",),
}


def tool(name):
    path = BIN / name
    if not path.exists():
        pytest.skip(f"{name} is not installed: requirements-dev.txt")
    return str(path)


def passes(*command):
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def manifests():
    for path in sorted((DEPLOY / "k8s" / "base").glob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield from yaml.safe_load_all(path.read_text())


def deployments():
    return [found for found in manifests() if found["kind"] == "Deployment"]


def containers():
    for deployment in deployments():
        pod = deployment["spec"]["template"]["spec"]
        yield from pod["containers"] + pod["initContainers"]


def test_yaml_is_tidy():
    passes(
        tool("yamllint"),
        *("--strict", "-c", str(DEPLOY / ".yamllint.yaml"), str(DEPLOY)),
    )


def test_compose_follows_its_schema():
    passes(
        tool("check-jsonschema"),
        *("--builtin-schema", "vendor.compose-spec"),
        str(DEPLOY / "compose.yaml"),
    )


def test_dockerfile_follows_good_practice():
    passes(tool("hadolint"), str(DEPLOY / "Dockerfile"))


@pytest.mark.parametrize("strict", ["1.30", "1.37"])
def test_manifests_follow_kubernetes_schemas(strict, tmp_path):
    validate = tool("kubernetes-validate")
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump_all(list(manifests())))

    passes(validate, "--strict", "-k", strict, str(path))


def test_the_overlay_renders(tmp_path):
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed; `make k8s-render` needs it")
    rendered = subprocess.run(
        [kubectl, "kustomize", str(DEPLOY / "k8s" / "overlays" / "staging")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (tmp_path / "staging.yaml").write_text(rendered)
    passes(
        tool("kubernetes-validate"), "--strict", str(tmp_path / "staging.yaml")
    )

    found = list(yaml.safe_load_all(rendered))
    by_name = {(item["kind"], item["metadata"]["name"]): item for item in found}
    for kind, name in by_name:
        if kind != "Namespace":
            namespace = by_name[kind, name]["metadata"]["namespace"]
            assert namespace == "recommender-staging"
    config = next(name for kind, name in by_name if kind == "ConfigMap")
    for name in ("retrieval", "ranking"):
        deployment = by_name["Deployment", name]["spec"]
        assert deployment["replicas"] == 1
        volumes = {
            volume["name"]: volume
            for volume in deployment["template"]["spec"]["volumes"]
        }
        # The generated name reached the volume: a change rolls the pods.
        assert volumes["config"]["configMap"]["name"] == config
        (pointer,) = deployment["template"]["spec"]["initContainers"]
        assert pointer["image"] == "recommender-serving:staging"


def test_overlay_patches_name_fields_that_exist():
    """What rendering checks where there is no kubectl."""
    overlay = yaml.safe_load(
        (DEPLOY / "k8s/overlays/staging/kustomization.yaml").read_text()
    )
    for patch in overlay["patches"]:
        targets = [
            found
            for found in manifests()
            if found["kind"] == patch["target"]["kind"]
        ]
        assert targets, patch
        for operation in yaml.safe_load(patch["patch"]):
            if operation["op"] == "add":
                continue
            for value in targets:
                for part in operation["path"].strip("/").split("/"):
                    value = value[int(part) if part.isdigit() else part]


def test_services_are_headless_and_guarded():
    found = list(manifests())
    names = {deployment["metadata"]["name"] for deployment in deployments()}
    assert names == {"retrieval", "ranking"}
    for kind in ("Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"):
        assert {
            item["metadata"]["name"] for item in found if item["kind"] == kind
        } == names
    for item in found:
        if item["kind"] == "Service":
            assert item["spec"]["clusterIP"] == "None"


def test_containers_run_without_rights(compose):
    for deployment in deployments():
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
    for container in containers():
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
    for name, service in compose["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name


def test_dockerfile_copies_what_the_ignore_file_lets_in():
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^USER 10001:10001$", text, re.M)
    assert "HEALTHCHECK" in text
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for source in re.findall(r"^COPY ((?!--)\S+) ", text, re.M):
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored


def test_files_that_are_mounted_exist(compose):
    for service in compose["services"].values():
        for volume in service["volumes"]:
            source = (
                volume.split(":")[0]
                if isinstance(volume, str)
                else volume["source"]
            )
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source
            elif not source.startswith("$"):
                assert source in compose["volumes"]


def flags(command):
    return [argument[2:].split("=")[0] for argument in command]


def test_flags_are_tensorflow_servings(compose):
    containers = [compose["services"][n] for n in ("retrieval", "ranking")] + [
        deployment["spec"]["template"]["spec"]["containers"][0]
        for deployment in deployments()
    ]
    for container in containers:
        command = container.get("command") or container["args"]
        is_stock = container["image"].startswith("tensorflow/serving")
        found = set(flags(command))
        assert found <= STOCK_FLAGS | (set() if is_stock else OUR_FLAGS)
        # TensorFlow Serving silently ignores the form `--name value`.
        assert all(re.fullmatch(r"--\w+=\S+", part) for part in command)
        if not is_stock:
            assert "--enable_reload_rpc=false" in command


def test_pointers_ask_the_servers_that_there_are(compose):
    services = {item["metadata"]["name"] for item in manifests()}
    commands = [
        container["args"]
        for container in containers()
        if container["name"] == "pointer"
    ]
    for command in [*commands, compose["services"]["pointers"]["command"]]:
        options = pointer._parser().parse_args(command)
        # A release to one of the two waits for the other.
        assert options.ranking_servers == "ranking:8500"
        assert options.retrieval_servers == "retrieval:8500,ranking:8500"
        assert {"ranking", "retrieval"} <= services & set(compose["services"])
        for group, models in options.group:
            assert (group in options.stock) == ("ranking" in models)


def test_prometheus_scrapes_both_servers(compose):
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    job, runs = config["scrape_configs"]
    monitoring = (DEPLOY / "config" / "monitoring.config").read_text()
    assert f'path: "{job["metrics_path"]}"' in monitoring
    hosts = {
        target.split(":")[0]: found["labels"]["server"]
        for found in job["static_configs"]
        for target in found["targets"]
    }
    assert hosts == {"retrieval": "retrieval", "ranking": "ranking"}
    assert set(hosts) <= set(compose["services"])
    # And the textfiles of runs.
    (exporter,) = runs["static_configs"][0]["targets"]
    assert exporter.split(":")[0] in compose["services"]


def test_the_dashboard_shows_metrics_that_exist():
    dashboard = json.loads(
        (DEPLOY / "grafana" / "dashboards" / "serving.json").read_text()
    )
    expressions = [
        target["expr"]
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]
    used = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        if not name.endswith("request_count")
        else name
        for text in expressions
        for name in re.findall(r":tensorflow:serving:\w+", text)
    }
    assert used == STOCK_METRICS
    sources = yaml.safe_load((DEPLOY / "grafana/datasources.yaml").read_text())
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {
        source["uid"] for source in sources["datasources"]
    }


@pytest.fixture(scope="module")
def locked_python(tmp_path_factory):
    """A Python that sees what the server's image installs, nothing else."""
    return environments.locked("server", tmp_path_factory.mktemp("locked"))


def test_the_compose_commands_serve(compose, tmp_path):
    commands_serve(compose, tmp_path, sys.executable)


@pytest.mark.slow
def test_they_serve_on_what_the_image_installs(
    compose, tmp_path, locked_python
):
    commands_serve(compose, tmp_path, locked_python)


def commands_serve(compose, tmp_path, python):
    """Runs `pointers`, `retrieval` and `ranking` as compose.yaml says.

    The image's content is what its Dockerfile copies; mounts are directories.
    TensorFlow Serving's image is replaced by our server with its flags.
    """
    from tests.support import toy_models

    toy_models.export(tmp_path / "repository", 3)
    toy_models.models_config(tmp_path / "repository", versions=[3])
    image = tmp_path / "image"
    shutil.copytree(ROOT / "serving", image / "serving")
    mounts = {
        "/repository": tmp_path / "repository",
        "/pointers": tmp_path / "pointers",
        "/config": DEPLOY / "config",
    }
    (tmp_path / "pointers").mkdir()
    entrypoint = json.loads(
        re.search(
            r"^ENTRYPOINT (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.M
        ).group(1)
    )
    started = []

    def start(name, ports=()):
        service = compose["services"][name]
        command = [
            *service.get("entrypoint", entrypoint),
            *ports,
            *[
                argument
                for argument in service["command"]
                if flags([argument])[0] not in flags(ports)
            ],
        ]
        for inside, outside in mounts.items():
            command = [part.replace(inside, str(outside)) for part in command]
        # From there `-m` finds only the image's own modules.
        log = (tmp_path / f"{name}.log").open("w")
        started.append(
            subprocess.Popen(
                [python, *command[1:]],
                cwd=image,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        )

    targets = {}
    try:
        start("pointers")
        eventually(
            lambda: (tmp_path / "pointers" / "stock.config").exists(), 60
        )
        for name in ("retrieval", "ranking"):
            ports = [f"--port={free_port()}", f"--rest_api_port={free_port()}"]
            targets[name] = f"127.0.0.1:{ports[0].split('=')[1]}"
            start(name, ports)
        targets["*"] = targets["retrieval"]
        with RecommenderClient(targets, fused="off") as client:
            eventually(lambda: answers(client), 60)
            answer = client.recommend(Query(history=["i19"]), k=2)
            assert answer.degraded == ""
            assert answer.item_ids == ("i11", "i12")
            assert answer.version == 3
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(20)


def answers(client):
    try:
        return client.recommend(Query()).degraded == ""
    except ServingError:
        return False
