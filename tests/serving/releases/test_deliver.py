"""Releases on their way from the training volume to the servers' one."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from serving.errors import ServingError
from serving.releases import deliver, request_log, versions
from tests.serving.deploy.test_deploy import ROOT
from tests.serving.deploy.test_training import named

MODELS = ("retrieval", "ranking")


@pytest.fixture
def source(tmp_path):
    return tmp_path / "published"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "repository"


@pytest.fixture
def publish(source):
    def write(version, bundle=None):
        for model in MODELS:
            path = source / model / str(version)
            (path / "assets.extra").mkdir(parents=True, exist_ok=True)
            (path / "saved_model.pb").write_text(f"{model} {version}")
            (path / "assets.extra" / "manifest.json").write_text(
                json.dumps({"bundle_id": bundle or f"bundle-{version}"})
            )
        (source / "popular.json").write_text(f'["i{version}"]')
        versions.write_models_config(
            source / "models.config",
            {model: (f"/data/{model}", [version]) for model in MODELS},
            comment=f"releases, live first: {version}",
        )

    return write


def live(directory):
    found = versions.read_models_config(directory / "models.config")
    assert {base for base, _ in found.values()} == {
        str(directory / model) for model in MODELS
    }
    ((version,),) = {tuple(numbers) for _, numbers in found.values()}
    return version


def test_the_live_release_arrives_whole_and_its_pointer_last(
    source, target, publish
):
    publish(3)
    placed = deliver.deliver(source, target)

    assert placed[-1] == target / "models.config"
    assert live(target) == 3
    assert "releases, live first: 3" in (target / "models.config").read_text()
    for model in MODELS:
        text = (target / model / "3" / "saved_model.pb").read_text()
        assert text == f"{model} 3"
    assert (target / "popular.json").read_text() == '["i3"]'
    assert deliver.deliver(source, target) == []


def test_a_rollback_arrives_too_and_old_versions_go(source, target, publish):
    for version in (1, 2, 3, 4):
        publish(version)
        deliver.deliver(source, target, keep_versions=2)
    assert versions.list_versions(target / "ranking") == [3, 4]
    publish(1)
    deliver.deliver(source, target, keep_versions=2)

    assert live(target) == 1
    assert versions.list_versions(target / "ranking") == [1, 3, 4]


def test_what_is_logged_is_brought_along(source, target, publish):
    publish(1)
    deliver.deliver(source, target)
    for share in (0.05, 0.0):
        prefix = Path("/requests/log")
        request_log.switch(source / "models.config", share, prefix)
        placed = deliver.deliver(source, target)
        assert placed == [target / "models.config"]
        assert deliver.deliver(source, target) == []
        found = versions.read_logging(target / "models.config")
        assert set(found) == (set(MODELS) if share else set())
        for config in found.values():
            assert config.sampling_config.sampling_rate == share


def test_a_release_that_comes_meanwhile_is_the_next_one(
    source, target, publish, monkeypatch
):
    publish(1)
    read = versions.read_models_config

    def overtaken(*args):
        found = read(*args)
        publish(2)
        return found

    monkeypatch.setattr(versions, "read_models_config", overtaken)
    deliver.deliver(source, target)
    monkeypatch.undo()

    assert live(target) == 1
    said = (target / "models.config").read_text()
    assert said.startswith("# releases, live first: 1")
    deliver.deliver(source, target)
    assert live(target) == 2


@pytest.mark.parametrize("step", ["copyfile", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_release_and_the_next_run_goes_on(
    step, source, target, publish, monkeypatch, caplog
):
    publish(1)
    deliver.deliver(source, target)
    publish(2)
    arguments = [f"--source={source}", f"--target={target}"]
    with monkeypatch.context() as broken:
        calls = []

        def fail(*given, **options):
            calls.append(given)
            if len(calls) > 1:
                raise OSError(28, "No space left on device", str(target))
            return original(*given, **options)

        module = shutil if step == "copyfile" else os
        original = getattr(module, step)
        broken.setattr(module, step, fail)
        assert deliver.main(arguments) == 2
    assert "No space left" in caplog.text
    assert live(target) == 1
    assert not list(target.glob("*/.staging*"))

    assert deliver.main(arguments) == 0
    assert live(target) == 2


def test_what_a_killed_run_left_is_no_version(source, target, publish):
    publish(1)
    (target / "ranking" / ".staging-1" / "half").mkdir(parents=True)
    deliver.deliver(source, target)

    assert not (target / "ranking" / ".staging-1").exists()
    assert (target / "ranking" / "1" / "saved_model.pb").exists()


def test_a_number_that_names_two_bundles_is_refused(source, target, publish):
    publish(1)
    deliver.deliver(source, target)
    publish(1, "another")

    with pytest.raises(ServingError, match="bundle-1.*another"):
        deliver.deliver(source, target)


def test_the_cron_job_runs_this_command(source, target, publish, tmp_path):
    publish(7)
    pod = named("CronJob")["deliver"]["jobTemplate"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    mounts = {
        "/data/artifacts/serving": source,
        "/repository": target,
    }
    volumes = {
        mount["mountPath"]: mount.get("readOnly", False)
        for mount in container["volumeMounts"]
    }
    assert volumes == {"/data": True, "/repository": False}
    command = [sys.executable, *container["command"][1:], *container["args"]]
    for inside, outside in mounts.items():
        command = [part.replace(inside, str(outside)) for part in command]
    for given in (1, 2):
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert live(target) == 7
        assert bool(run.stderr) == (given == 1)
    (source / "models.config").unlink()
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 2
    assert re.fullmatch(r".*models\.config.*\n", run.stderr)
