"""Releases that reach ranking first: by the rules, and on two servers."""

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter

import grpc
import numpy as np
import pytest

from serving.client import Query, RecommenderClient, Retry, Tls
from serving.errors import ServingError
from serving.releases import versions
from serving.releases.phases import Phases
from serving.releases.replicas import Replicas
from tests.serving.server.rpc.test_tls import Authority
from tests.support import serving_models, toy_models
from tests.support.fake_server import FakeServer
from tests.support.ports import free_port
from tests.support.serving_calls import (
    ROOT,
    Remote,
    predict_request,
    spawn,
    states,
)
from tests.support.waiting import eventually


class Fleet:
    """Stands for servers that answer with these versions."""

    def __init__(self, *numbers):
        self.numbers = set(numbers)

    def lacking(self, model, number):
        return "" if number in self.numbers else "one has not"

    def may_use(self, models, number):
        return number in self.numbers


@pytest.fixture
def phases():
    made = Phases(30, Fleet(1), Fleet(1))
    advance(made, 1, 0)
    return made


def advance(phases, version, now, on_disk=()):
    released = {"retrieval": [version], "ranking": [version]}
    found = phases.step(
        released,
        released,
        lambda model, below: [n for n in reversed(on_disk) if n < below],
        now,
    )
    return found["ranking"], found["retrieval"]


def test_retrieval_follows_when_ranking_has_the_version(phases):
    assert advance(phases, 2, 10) == ([1, 2], [1])
    assert "version 2: one has not" in phases.waiting
    # However long that takes.
    assert advance(phases, 2, 1e6) == ([1, 2], [1])
    phases.ranking.numbers = {1, 2}
    assert advance(phases, 2, 1e6) == ([1, 2], [1, 2])
    assert phases.waiting == ""
    assert advance(phases, 2, 1e6 + 29) == ([1, 2], [1, 2])
    assert advance(phases, 2, 1e6 + 31) == ([1, 2], [2])


def test_a_rollback_takes_the_same_steps(phases):
    phases.ranking.numbers = {1, 2}
    advance(phases, 2, 0)
    advance(phases, 2, 31)
    phases.retrieval.numbers = {2}

    assert advance(phases, 1, 40) == ([1, 2], [1])
    # Retrieval still answers with 2 somewhere, so ranking must have it.
    assert advance(phases, 1, 1000) == ([1, 2], [1])
    phases.retrieval.numbers = {1}
    assert advance(phases, 1, 1029) == ([1, 2], [1])
    assert advance(phases, 1, 1031) == ([1], [1])


def test_a_release_that_lists_the_one_before_it_waits_too():
    def step(*numbers, now):
        released = {"retrieval": list(numbers), "ranking": list(numbers)}
        found = made.step(released, released, lambda *_: [], now)
        return found["ranking"], found["retrieval"]

    made = Phases(30, Fleet(1, 2), Fleet(2))
    assert step(1, 2, now=0) == ([1, 2], [1, 2])
    assert step(2, 3, now=1) == ([1, 2, 3], [1, 2])
    made.ranking.numbers = {2, 3}
    step(2, 3, now=2)
    assert step(2, 3, now=40) == ([2, 3], [2, 3])
    # Back: what is loaded answers at once.
    assert step(2, now=41) == ([2, 3], [2])


def test_ranking_keeps_what_is_in_use_through_quick_releases(phases):
    advance(phases, 2, 0)
    assert advance(phases, 3, 1) == ([1, 2, 3], [1])
    assert advance(phases, 3, 1000) == ([1, 2, 3], [1])
    phases.ranking.numbers = {1, 2, 3}
    phases.retrieval.numbers = {3}
    assert advance(phases, 3, 1001) == ([1, 2, 3], [1, 3])
    assert advance(phases, 3, 1040) == ([2, 3], [3])
    for version in range(4, 20):
        ranking, _ = advance(phases, version, 1041)
    assert len(ranking) <= 4


def test_a_new_server_begins_with_what_ranking_has():
    made = Phases(30, Fleet(1), Fleet(1))
    assert advance(made, 3, 0, on_disk=(1, 2, 3)) == ([2, 3], [1])
    # Without any ranking server retrieval alone is better than nothing.
    made = Phases(30, Fleet(), Fleet())
    assert advance(made, 3, 0, on_disk=(1, 2, 3))[1] == [3]


def test_a_pointer_goes_on_where_the_one_before_stopped(phases):
    advance(phases, 2, 0)
    resumed = Phases(30, Fleet(1), Fleet(1), listed=dict(phases.listed))
    assert advance(resumed, 2, 0) == ([1, 2], [1])
    resumed.ranking.numbers = {1, 2}
    assert advance(resumed, 2, 1) == ([1, 2], [1, 2])


def test_versions_that_ranking_does_not_share_wait_for_nothing():
    made = Phases(30, Fleet(), Fleet())
    for ranking, retrieval in ((1, 5), (1, 6)):
        released = {"ranking": [ranking], "retrieval": [retrieval]}
        found = made.step(released, released, lambda *_: [], 0)
        assert retrieval in found["retrieval"]


def test_every_server_behind_a_name_is_asked():
    with FakeServer(["ranking"]) as one:
        with FakeServer(["ranking"]) as two:
            two.versions = {"ranking": [2]}
            fleet = Replicas([one.target, two.target])
            assert fleet.lacking("ranking", 1) == f"{two.target} has not"
            assert fleet.may_use(["ranking"], 2)
            assert not fleet.may_use(["ranking"], 3)
            assert not fleet.may_use(["retrieval"], 1)
            assert fleet.lacking("retrieval", 1)
        silent = Replicas([one.target, two.target], timeout_seconds=0.5)
        assert silent.lacking("ranking", 1) == f"{two.target} cannot be asked"
        assert silent.may_use(["ranking"], 9)
    with pytest.raises(ServingError, match="HOST:PORT"):
        Replicas(["ranking"])


def test_servers_with_tls_are_asked_by_their_names(tmp_path):
    authority = Authority("ours")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    credentials = grpc.ssl_server_credentials([authority.issue("server")])
    with FakeServer(["ranking"], credentials=credentials) as server:
        tls = Tls(ca=tmp_path / "ca.pem")
        assert Replicas([server.target], tls).lacking("ranking", 1) == ""
        plain = Replicas([server.target], timeout_seconds=0.5)
        assert "cannot be asked" in plain.lacking("ranking", 1)


# The rest runs a pointer and two servers, as they stand on two machines.


def _array(value):
    return value if isinstance(value, np.ndarray) else np.array(value, object)


class Fleets:
    """A repository, a pointer, two servers, and a client that counts."""

    def __init__(self, directory):
        self.repository = directory / "repository"
        self.pointers = directory / "pointers"
        self.ports = {name: free_port() for name in ("scann", "stock")}
        self.targets = {
            name: f"127.0.0.1:{port}" for name, port in self.ports.items()
        }
        self._started = []

    def add_versions(self, *numbers):
        models = ("retrieval", "ranking")
        toy_models.export(self.repository, numbers[0], models)
        wide = {
            **{name: [b""] for name in ("user_id", "country")},
            **{name: [[b"i1"]] for name in ("history", "tags")},
            "age": np.float32([1]),
            "hour": np.int64([1]),
            "candidate_ids": [[b"i%d" % n for n in range(2000)]],
        }
        wide = {name: _array(value) for name, value in wide.items()}
        serving_models.write_warmup(
            self.repository / "ranking" / str(numbers[0]),
            predict_request("ranking", wide),
        )
        for number in numbers[1:]:
            for model in models:
                path = self.repository / model
                shutil.copytree(path / str(numbers[0]), path / str(number))
                (path / f"{number}/assets.extra/manifest.json").write_text(
                    json.dumps({"bundle_id": f"toy-{number}"})
                )

    def release(self, number):
        versions.write_models_config(
            self.repository / "models.config",
            {
                model: (f"/published/{model}", [number])
                for model in ("retrieval", "ranking")
            },
        )

    def point(self):
        """Starts a pointer."""
        command = [
            *(sys.executable, "-m", "serving.releases.pointer"),
            f"--source={self.repository / 'models.config'}",
            f"--directory={self.pointers}",
            *("--group=stock=ranking", "--group=scann=retrieval"),
            "--stock=stock",
            f"--ranking_servers={self.targets['stock']}",
            f"--retrieval_servers={self.targets['scann']}",
            *("--overlap_seconds=0.5", "--poll_seconds=0.05"),
        ]
        self.pointer = subprocess.Popen(
            command, cwd=ROOT, stderr=subprocess.DEVNULL
        )
        self._started.append(self.pointer)

    def serve(self):
        for name, port in self.ports.items():
            eventually((self.pointers / f"{name}.config").exists)
            server = spawn(
                f"--port={port}",
                f"--model_config_file={self.pointers / name}.config",
                "--model_config_file_poll_wait_seconds=0.1",
                # Makes ranking, which has a warm-up request, load slowly.
                "--num_request_iterations_for_warmup=100",
            )
            # Nobody reads its log.
            threading.Thread(target=server.stdout.read, daemon=True).start()
            self._started.append(server)
        for name, model in (("scann", "retrieval"), ("stock", "ranking")):
            remote = Remote(self.targets[name])
            eventually(lambda r=remote, m=model: states(r, m), 90)
            remote.close()

    def listed(self, group):
        (found,) = versions.read_models_config(
            self.pointers / f"{group}.config"
        ).values()
        return found[1]

    def stop(self):
        for process in self._started:
            process.kill()
            process.wait()


class Asking(threading.Thread):
    """A caller of both stages; counts (version, degraded)."""

    def __init__(self, targets):
        super().__init__()
        self.answers = Counter()
        self.version = 0
        self._client = RecommenderClient(
            {"*": targets["scann"], "ranking": targets["stock"]},
            fused="off",
            # Does not wait for a version that ranking lacks.
            retries=Retry(swap_wait_seconds=0.0),
        )
        self._is_over = threading.Event()

    def run(self):
        with self._client as client:
            while not self._is_over.wait(0.005):
                answer = client.recommend(Query(history=["i3"]), k=2)
                self.version = answer.version
                self.answers[answer.version, bool(answer.degraded)] += 1

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self._is_over.set()
        self.join()

    def arrives(self, version):
        eventually(lambda: self.version == version, 60)

    def degraded(self):
        return sum(
            count for (_, is_bad), count in self.answers.items() if is_bad
        )


@pytest.mark.slow
def test_no_answer_lacks_ranking_through_releases_and_a_rollback(tmp_path):
    fleets = Fleets(tmp_path)
    fleets.add_versions(1, 2, 3, 4)
    fleets.release(1)
    try:
        fleets.point()
        fleets.serve()
        with Asking(fleets.targets) as asking:
            asking.arrives(1)
            fleets.release(2)
            asking.arrives(2)
            fleets.release(3)
            # Killed between the phases; another one goes on.
            eventually(lambda: 3 in fleets.listed("stock"))
            fleets.pointer.send_signal(signal.SIGKILL)
            assert 3 not in fleets.listed("scann")
            fleets.point()
            asking.arrives(3)
            eventually(lambda: fleets.listed("stock") == [2, 3])
            fleets.release(2)
            asking.arrives(2)
            eventually(
                lambda: (
                    fleets.listed("stock") == [1, 2]
                    or fleets.listed("stock") == [2]
                )
            )
        assert asking.degraded() == 0
        assert {version for version, _ in asking.answers} == {1, 2, 3}

        # The control: both pointers at once, as far as one machine can.
        fleets.pointer.kill()
        fleets.pointer.wait()
        with Asking(fleets.targets) as asking:
            asking.arrives(2)
            for group, model in (("scann", "retrieval"), ("stock", "ranking")):
                versions.write_models_config(
                    fleets.pointers / f"{group}.config",
                    {model: (str(fleets.repository / model), [2, 4])},
                )
            asking.arrives(4)
        assert asking.degraded() > 0
    finally:
        fleets.stop()
