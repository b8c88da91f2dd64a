"""The cluster jobs of the offline side, checked without a cluster."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from pipeline import __main__ as command_line
from pipeline import exits, textfile
from pipeline.run import workers
from pipeline.terminal import console
from tests.serving.deploy.test_deploy import DEPLOY, ROOT, passes, tool
from tests.support import environments
from tests.support.pods import TRAINING, manifests, named


def pods():
    for spec in (*named("Job").values(), *named("Deployment").values()):
        yield spec["template"]["spec"]
    for spec in named("CronJob").values():
        yield spec["jobTemplate"]["spec"]["template"]["spec"]


def container(name):
    (found,) = named("Job")[name]["template"]["spec"]["containers"]
    return found


def environment(name, index):
    """What the container sees as pod `index` of its job."""
    values = {"INDEX": str(index)}
    for entry in container(name).get("env", []):
        if "value" in entry:
            values[entry["name"]] = re.sub(
                r"\$\((\w+)\)",
                lambda found: values.get(found[1], found[0]),
                entry["value"],
            )
    return values


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_manifests_follow_kubernetes_schemas(version, tmp_path):
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump_all(list(manifests())))
    passes(tool("kubernetes-validate"), "--strict", "-k", version, str(path))


def test_the_folder_renders(tmp_path):
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    rendered = subprocess.run(
        [kubectl, "kustomize", str(TRAINING)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = {item["metadata"]["name"] for item in yaml.safe_load_all(rendered)}
    assert names == {item["metadata"]["name"] for item in manifests()}


def test_the_image_is_tidy_and_copies_what_it_may():
    passes(tool("hadolint"), str(DEPLOY / "Dockerfile.training"))
    text = (DEPLOY / "Dockerfile.training").read_text()
    ignored = (DEPLOY / "Dockerfile.training.dockerignore").read_text()
    sources = re.findall(r"^COPY ((?!--).+) \S+$", text, re.M)
    for source in " ".join(sources).split():
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored.splitlines()


def test_pods_run_without_rights_and_share_one_path():
    found = list(pods())
    assert len(found) == 9
    for pod in found:
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        (main,) = pod["containers"]
        assert main["securityContext"]["readOnlyRootFilesystem"]
        assert main["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert main["resources"]["limits"]["memory"]
        mounts = {mount["name"]: mount for mount in main["volumeMounts"]}
        assert mounts["data"]["mountPath"] == "/data"
        assert set(mounts) == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("name", ["prepare", "train-retrieval", "index-shards"])
def test_arguments_are_the_command_lines(name):
    options = []
    for index in range(named("Job")[name].get("completions", 1)):
        arguments = [
            part.replace("$(INDEX)", str(index))
            for part in container(name)["args"]
        ]
        options.append(command_line._parser().parse_args(arguments))
    assert options[0].command == name.removesuffix("-shards")
    # All steps must agree on what was prepared.
    settings = {value for found in options for value in found.set}
    assert settings == {
        part.removeprefix("--set=")
        for part in container("prepare")["args"]
        if part.startswith("--set=")
    }
    if name == "index-shards":
        assert [found.shard for found in options] == [
            (index, 4) for index in range(4)
        ]


def nightly(name):
    (found,) = named("CronJob")[name]["jobTemplate"]["spec"]["template"][
        "spec"
    ]["containers"]
    return command_line._parser().parse_args(found["args"])


def test_the_night_makes_what_the_jobs_make_and_tries_it():
    retrain, promote = nightly("retrain"), nightly("promote")
    assert (retrain.command, promote.command) == ("retrain", "promote")
    assert promote.if_healthy.startswith("http://")
    prepare = command_line._parser().parse_args(container("prepare")["args"])
    # The same settings, so that nothing is prepared twice, and a trial.
    assert set(retrain.set) - set(prepare.set) == {"publish.stage=5"}
    assert set(prepare.set) < set(retrain.set)
    assert set(promote.set) < set(retrain.set)
    for name, spec in named("CronJob").items():
        assert spec["concurrencyPolicy"] == "Forbid", name
    # What the gate or the checks said is final for the night.
    (final, _) = named("CronJob")["retrain"]["jobTemplate"]["spec"][
        "podFailurePolicy"
    ]["rules"]
    assert final["action"] == "FailJob"
    ends = {ending.status for ending in exits._ENDINGS if ending.status > 1}
    assert set(final["onExitCodes"]["values"]) == ends - {130}
    assert final["onExitCodes"]["containerName"] == "retrain"


def test_promote_decides_by_what_prometheus_says(tmp_path, monkeypatch, capsys):
    """The CronJob's own arguments, on a repository with nothing on trial."""
    monkeypatch.setattr(console, "quiet_native_logs", lambda path: None)
    (found,) = named("CronJob")["promote"]["jobTemplate"]["spec"]["template"][
        "spec"
    ]["containers"]
    (tmp_path / "config.toml").write_text('name = "orders"\nseed = 1\n')
    arguments = [part.replace("/data", str(tmp_path)) for part in found["args"]]
    assert command_line.main(arguments) == 0
    assert "no version is on trial" in capsys.readouterr().out
    metrics = tmp_path / "artifacts" / textfile.DIRECTORY
    assert [path.name for path in metrics.iterdir()] == ["orders.releases.prom"]
    # Where the exporter looks for it.
    exporter = named("Deployment")["runs"]["template"]["spec"]["containers"][0]
    (looked,) = [part for part in exporter["args"] if "directory" in part]
    assert looked.endswith(f"=/data/artifacts/{textfile.DIRECTORY}")


def test_prometheus_and_the_log_are_in_reach_of_the_night():
    (policy,) = [
        found["spec"]
        for found in manifests()
        if found["kind"] == "NetworkPolicy"
        and found["metadata"]["name"] == "training"
    ]
    (selected,) = policy["podSelector"]["matchExpressions"]
    assert {"retrain", "promote"} <= set(selected["values"])
    assert policy["egress"] == [{}]


def test_every_pod_of_the_training_job_is_another_worker():
    job = named("Job")["train-retrieval"]
    assert job["completionMode"] == "Indexed"
    assert job["completions"] == job["parallelism"] == 4
    subdomain = job["template"]["spec"]["subdomain"]
    service = named("Service")[subdomain]
    assert service["clusterIP"] == "None"
    assert service["publishNotReadyAddresses"]
    (port,) = container("train-retrieval")["ports"]
    for index in range(4):
        found = workers.find("", None, environment("train-retrieval", index))
        assert found.index == index
        # The names that an indexed job gives its pods.
        assert found.addresses == tuple(
            f"train-retrieval-{pod}.{subdomain}:{port['containerPort']}"
            for pod in range(4)
        )
        json.loads(environment("train-retrieval", index)["TF_CONFIG"])


def test_spark_is_where_the_jobs_look_for_it():
    (rpc,) = named("Service")["spark-master"]["ports"]
    master = f"spark://spark-master:{rpc['port']}"
    assert f"--set=prepare.engine={master}" in container("prepare")["args"]
    deployed = named("Deployment")
    (worker,) = deployed["spark-worker"]["template"]["spec"]["containers"]
    assert worker["args"][-1] == master
    (main,) = deployed["spark-master"]["template"]["spec"]["containers"]
    assert str(rpc["port"]) in main["args"]
    # The classes that the cluster of the tests runs.
    started = (ROOT / "pipeline/prepare/spark_cluster.py").read_text()
    for found in (main, worker):
        assert found["command"][1] in started


@pytest.mark.slow
def test_the_command_prepares_on_what_the_image_installs(tmp_path):
    python = environments.locked("training", tmp_path / "environment")
    image = tmp_path / "image"
    for package in ("models", "pipeline", "serving"):
        shutil.copytree(ROOT / package, image / package)
    for arguments in (["--help"], [f"--set=artifacts={tmp_path}", "prepare"]):
        done = subprocess.run(
            [python, "-m", "pipeline", *arguments],
            cwd=image,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "sample" / "prepare").is_dir()
