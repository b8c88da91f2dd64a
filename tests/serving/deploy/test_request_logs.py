"""Where servers log requests in compose.yaml and on a cluster."""

import os
import re
import time

import yaml

from tests.serving.deploy.test_deploy import (
    DEPLOY,
    deployments,
    manifests,
    passes,
)


def test_request_logs_land_on_a_volume_that_has_an_end(tmp_path):
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    image = (DEPLOY / "Dockerfile").read_text()
    (made,) = re.findall(
        r"^RUN mkdir (.+) && chown 10001:10001 (.+)$", image, re.M
    )
    assert made[0] == made[1]
    service = compose["services"]["retrieval"]
    assert "requests:/requests" in service["volumes"]
    # It outlives the container, whose own name is in the files otherwise.
    assert service["hostname"]
    assert "requests" in compose["volumes"]
    # TensorFlow Serving logs nothing.
    assert "requests" not in str(compose["services"]["ranking"]["volumes"])
    (pod,) = [
        found["spec"]["template"]["spec"]
        for found in deployments()
        if found["metadata"]["name"] == "retrieval"
    ]
    assert pod["securityContext"]["fsGroup"] == 10001
    (main,) = pod["containers"]
    mounts = {mount["name"]: mount for mount in main["volumeMounts"]}
    assert mounts["requests"] == {"name": "requests", "mountPath": "/requests"}
    for command in (service["command"], main["args"]):
        assert "--request_log_bytes=1073741824" in command
    assert "/requests" in made[0].split()
    # What pods left behind goes by age, and nothing else does.
    (job,) = [
        found["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        for found in manifests()
        if found["kind"] == "CronJob"
    ]
    (remove,) = job["containers"]
    now = time.time()
    for name, days in (
        *(("log-1-a-1.tfrecord", 9), ("log-2-b-1.tfrecord", 6)),
        ("notes.txt", 9),
    ):
        path = tmp_path / name
        path.write_text("x")
        os.utime(path, (now, now - days * 86_400))
    command = [*remove["command"], *remove["args"]]
    passes(*(part.replace("/requests", str(tmp_path)) for part in command))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("log-2-b-1.tfrecord", "notes.txt")
    ]
