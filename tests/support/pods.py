"""Pods of serving/deploy/k8s/training as containers, without a cluster.

A pod's own command, arguments, environment, user and mounts, as the manifests
have them. A claim is a directory here; an `emptyDir` starts empty.
"""

from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.support.containers import Container, Image, Machine

TRAINING = Path(__file__).parents[2] / "serving/deploy/k8s/training"


def manifests() -> Iterator[dict]:
    """All that the folder describes."""
    for path in sorted(TRAINING.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            yield from yaml.safe_load_all(path.read_text())


def named(kind: str) -> dict[str, dict]:
    """Specifications of one kind by name."""
    return {
        found["metadata"]["name"]: found["spec"]
        for found in manifests()
        if found["kind"] == kind
    }


def start(
    machine: Machine,
    image: Image,
    kind: str,
    name: str,
    claims: dict[str, Path],
) -> Container:
    """Starts the pod that a manifest describes.

    Args:
        image: Of its only container.
        claims: Directories by the name of their claim.
    """
    spec = named(kind)[name]
    if kind == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    pod = spec["template"]["spec"]
    (main,) = pod["containers"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts, tmpfs = {}, []
    for mount in main["volumeMounts"]:
        claim = volumes[mount["name"]].get("persistentVolumeClaim")
        if claim is None:
            tmpfs.append(mount["mountPath"])
        else:
            mode = "ro" if mount.get("readOnly") else "rw"
            mounts[mount["mountPath"]] = claims[claim["claimName"]], mode
    rights = pod["securityContext"]
    return machine.start(
        name,
        image,
        command=[
            *main.get("command", image.config["Entrypoint"]),
            *main["args"],
        ],
        environment={
            entry["name"]: entry.get("value", "$(POD_IP)")
            for entry in main.get("env", [])
        },
        mounts=mounts,
        tmpfs=tmpfs,
        user=f"{rights['runAsUser']}:{rights['runAsGroup']}",
    )
