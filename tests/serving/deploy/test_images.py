"""Both images, built and run: train, publish, serve, publish again, ask.

What is run, with which user, mounts and limits, is read from compose.yaml and
the Dockerfiles. `make test-images`; tests/support/containers.py says what
takes an engine. TensorFlow Serving's own image is not to be had without
a registry: its part is played by ours, with ScaNN's op library hidden.
"""

import os
import re
import signal
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from serving.releases import history, versions
from tests.support import containers, pods, staged
from tests.support.waiting import eventually

pytestmark = pytest.mark.images

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "serving" / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
OURS = COMPOSE["retrieval"]["image"]
SCANN = "/venv/lib/python3.11/site-packages/scann"
STRANGER = "54321:54321"
# The smallest log whose catalogue ScaNN takes.
CONFIG = """
name = "tiny"
seed = 3
artifacts = "/data/artifacts"
[source]
num_users = 500
num_items = 1200
interactions_per_user = 20
[prepare]
split = "leave_last_out"
[retrieval]
encoder = "attention"
embedding_dim = 16
history_length = 20
batch_positions = 512
epochs = 2
[index]
kind = "scann"
num_candidates = 30
[ranking]
epochs = 3
[student]
embedding_dim = 8
history_length = 10
epochs = 2
max_histories = 1000
[publish]
must_beat = []
"""


@pytest.fixture(scope="module")
def machine():
    reason = containers.obstacle()
    if reason:
        pytest.skip(reason)
    # A disk, where /tmp may be memory: images have gigabytes.
    made = containers.Machine(Path(tempfile.mkdtemp(dir="/var/tmp")))
    yield made
    made.close()


@pytest.fixture(scope="module")
def serving(machine):
    return machine.build(DEPLOY / "Dockerfile", ROOT)


@pytest.fixture(scope="module")
def training(machine):
    return machine.build(DEPLOY / "Dockerfile.training", ROOT)


@pytest.fixture(scope="module")
def data(machine):
    """What is mounted at /data for the offline side, the image's user's."""
    folder = machine.directory / "data"
    folder.mkdir()
    os.chmod(machine.directory, 0o755)
    os.chown(folder, 10001, 10001)
    (folder / "config.toml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def pipeline(machine, training, data):
    """Runs `python -m pipeline` in the training image to its end."""

    def run(*arguments, folder=data, user=""):
        container = machine.start(
            "training",
            training,
            command=[*training.config["Entrypoint"], *arguments],
            mounts={"/data": (folder, "rw")},
            user=user,
        )
        return container.wait(900), container.log()

    return run


@pytest.fixture(scope="module")
def released(pipeline, data):
    """The first version, trained and published inside the image."""
    # Fewer epochs than the night after: trained alike, the two would differ
    # by what ScaNN's build leaves to chance, and the gate might keep the first.
    status, log = pipeline(
        "--config=/data/config.toml",
        "--set=retrieval.epochs=1",
        "--set=ranking.epochs=1",
        "retrain",
    )
    assert status == 0, log[-3000:]
    return data / "artifacts" / "serving"


@pytest.fixture
def service(machine, serving, released):
    """Starts services as compose.yaml says, with volumes of their own."""
    volumes = {}

    def start(name, command=None, user=""):
        wanted = COMPOSE[name]
        stock = wanted["image"] != OURS
        entrypoint = wanted.get("entrypoint", serving.config["Entrypoint"])
        mounts = {}
        for volume in wanted["volumes"]:
            if isinstance(volume, str):
                source, path, *mode = volume.split(":")
                mode = mode[0] if mode else "rw"
                if source not in volumes:
                    volumes[source] = volume_of(serving, path)
                mounts[path] = volumes[source], mode
            else:
                source = volume["source"]
                here = released if source.startswith("$") else DEPLOY / source
                mounts[volume["target"]] = here, "ro"
        if stock:
            # What the image's own entrypoint adds.
            entrypoint = [*entrypoint, "--port=8500", "--rest_api_port=8501"]
        assert wanted["read_only"] and wanted["cap_drop"] == ["ALL"]
        return machine.start(
            name,
            serving,
            command=[*entrypoint, *(command or wanted["command"])],
            mounts=mounts,
            tmpfs=[*wanted["tmpfs"], *([SCANN] if stock else [])],
            user=user or wanted.get("user", ""),
        )

    def volume_of(image, path):
        folder = Path(tempfile.mkdtemp(dir=machine.directory))
        inside = (image.root / path.lstrip("/")).stat()
        os.chown(folder, inside.st_uid, inside.st_gid)
        os.chmod(folder, 0o755)
        return folder

    start.volumes = volumes
    yield start
    for container in machine.running:
        container.stop()


def health(image, name):
    wanted = COMPOSE[name].get("healthcheck")
    return wanted["test"][1:] if wanted else image.health_check


def up(serving, service, names=("pointers", "retrieval", "ranking"), **options):
    """Starts services in the order of their dependencies, each healthy."""
    found = {}
    for name in names:
        found[name] = service(name, **options)
        eventually(
            lambda name=name: found[name].is_healthy(health(serving, name)), 300
        )
    return found


def smoke(machine, running):
    """`make smoke` on the addresses of `make staging-up`."""
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    targets = re.search(r"^STAGING_TARGETS = (.*)$", text, re.M)[1]
    for name, container in running.items():
        for port in COMPOSE[name].get("ports", []):
            outside, _, inside = port.rpartition(":")
            targets = targets.replace(outside, f"{container.address}:{inside}")
    assert "127.0.0.1" not in targets
    done = machine.ask(
        *("make", "smoke", f"TARGET={' '.join(targets.split())}"),
        f"VENV={Path(sys.prefix)}",
        cwd=ROOT,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def night(machine, training, data, released):
    """Runs the CronJobs, on the Spark cluster and volumes of their manifests.

    They try version 2 beside version 1 and, an hour later, make it live.
    """
    repository = machine.directory / "repository"
    repository.mkdir()
    os.chown(repository, 10001, 10001)
    claims = {"training-data": data, "model-repository": repository}
    running = []

    def pod(kind, name):
        found = pods.start(machine, training, kind, name, claims)
        running.append(found)
        return found

    def job(name, seconds):
        found = pod("CronJob", name)
        assert found.wait(seconds) == 0, found.log()[-3000:]

    def run():
        master = pod("Deployment", "spark-master")
        pod("Deployment", "spark-worker")
        running.append(
            machine.start(
                "prometheus.monitoring",
                training,
                command=["python", "-m", "tests.support.fake_prometheus"],
                mounts={"/app/tests": (ROOT / "tests", "ro")},
            )
        )
        job("retrain", 900)
        assert "Registered app" in master.log()
        tried = history.state(released)
        assert (tried.live, tried.canary) == (1, 2)

        job("deliver", 60)
        labels = versions.read_labels(repository / history.POINTER)
        assert labels["ranking"]["stable"] == 1
        assert labels["ranking"]["canary"] == 2

        job("promote", 60)
        assert history.state(released).live == 1  # It is too early to say.
        staged.ago(released, 61)
        job("promote", 60)
        job("deliver", 60)
        for place in (released, repository):
            assert history.state(place).live == 2

    yield run
    for container in running:
        container.stop()


def test_the_command_line_answers(pipeline):
    status, log = pipeline("--help")
    assert status == 0, log
    assert "retrain" in log


def test_both_engines_prepare_the_sample_alike(pipeline, machine):
    """As the image's user, and Spark as one that nobody has named."""
    folder = Path(tempfile.mkdtemp(dir=machine.directory))
    os.chmod(folder, 0o777)
    runs = {"duckdb": "", "spark": "", "stranger": STRANGER}
    for name, user in runs.items():
        engine = "duckdb" if name == "duckdb" else "spark"
        status, log = pipeline(
            f"--set=artifacts=/data/{name}",
            f"--set=prepare.engine={engine}",
            *("--set=source.num_users=100", "--set=source.num_items=100"),
            "prepare",
            folder=folder,
            user=user,
        )
        assert status == 0, log[-3000:]
    one, *others = (folder / name / "runs" for name in runs)
    tables = sorted(one.rglob("*.parquet"))
    assert len(tables) >= 5
    for table in tables:
        for other in others:
            twin = other / table.relative_to(one)
            assert pq.read_table(table).equals(pq.read_table(twin)), table


def test_a_night_of_the_cluster_is_served(machine, serving, service, night):
    running = up(serving, service)
    status, answer = smoke(machine, running)
    assert status == 0, answer
    assert "recommender 1" in answer and "ranking 1" in answer

    night()

    def followed():
        status, answer = smoke(machine, running)
        assert status == 0, answer
        return "recommender 2" in answer and "ranking 2" in answer

    eventually(followed, 300)
    for name, container in running.items():
        assert container.is_healthy(health(serving, name))
        assert container.execute("touch", "/app/x").returncode != 0
        limits = COMPOSE[name]["deploy"]["resources"]["limits"]
        number, unit = limits["memory"][:-1], limits["memory"][-1]
        limit = int(number) * {"m": 2**20, "g": 2**30}[unit]
        assert container.peak_memory() < limit, name
        assert container.stop(signal.SIGTERM) == 0, container.log()[-3000:]


def test_another_user_can_run_the_services(machine, serving, service):
    pointers = service("pointers")
    eventually(lambda: pointers.is_healthy(health(serving, "pointers")), 300)
    running = {
        name: service(name, user=STRANGER) for name in ("retrieval", "ranking")
    }
    for name, container in running.items():
        eventually(
            lambda container=container, name=name: container.is_healthy(
                health(serving, name)
            ),
            300,
        )
    status, answer = smoke(machine, running)
    assert status == 0, answer


def test_a_server_without_models_is_not_healthy(serving, service):
    running = up(serving, service, ["pointers", "retrieval", "ranking"])
    running["pointers"].stop()
    folder = service.volumes["pointers"]
    for name in ("retrieval", "ranking"):
        check = health(serving, name)
        pointer = folder / {"retrieval": "scann", "ranking": "stock"}[name]
        config = pointer.with_suffix(".config")
        # One of two models is listed with a version that does not exist.
        text = config.read_text()
        head, _, tail = text.rpartition("versions:")
        replace(config, head + "versions: 9" + re.sub(r"^\s*\d+", "", tail))
        eventually(lambda: not running[name].is_healthy(check), 60)  # noqa: B023
        replace(config, text)
        eventually(lambda: running[name].is_healthy(check), 300)  # noqa: B023
        replace(config, "model_config_list {\n}\n")
        eventually(lambda: not running[name].is_healthy(check), 60)  # noqa: B023


def replace(path, text):
    beside = path.with_name("new")
    beside.write_text(text)
    beside.replace(path)


def test_the_stand_in_lacks_what_the_stock_image_lacks(serving, service):
    pointers = service("pointers")
    eventually(lambda: pointers.is_healthy(health(serving, "pointers")), 300)
    stock = service(
        "ranking",
        command=[
            part.replace("stock.config", "scann.config")
            for part in COMPOSE["ranking"]["command"]
        ],
    )
    # It tries again for minutes, without ever being ready.
    eventually(lambda: "Op type not registered 'Scann>" in stock.log(), 300)
    assert "server_ready" not in stock.log()
    assert stock.execute(*serving.health_check).returncode != 0
