"""Images that are built and run without an engine and an image registry.

buildah builds the Dockerfiles on a base that debootstrap makes; crun runs what
compose.yaml says: the image's file system, user, environment and command, on a
root that cannot be written to, without capabilities, each container in
namespaces of its own. What takes an engine is absent: limits of processor and
memory, seccomp, health checks by the clock, names for addresses.

Nothing outside the given directory and the network's namespaces is touched,
and `close` removes both.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

TOOLS = ("buildah", "crun", "debootstrap", "ip", "unshare", "nsenter")
# Debian 12's packages stand in for the image of this name; PYTHON_IMAGE names
# another one, which buildah then has to find.
BASE = "localhost/python:3.11-slim-bookworm"
CA = Path("/etc/ssl/certs/ca-certificates.crt")
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")


def obstacle() -> str:
    """Why images cannot be built on this machine, "" where they can."""
    if os.geteuid() != 0:
        return "building images without an engine needs root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} not installed"
    if "PYTHON_IMAGE" not in os.environ and not SOURCES.exists():
        return f"no {SOURCES} to make a base image from, and no PYTHON_IMAGE"
    if "PYTHON_IMAGE" not in os.environ and _suite()[1] != "bookworm":
        return f"{SOURCES} is not of Debian 12, which the base image is made of"
    probe = subprocess.run(
        ["unshare", "--mount", "--net", "true"], capture_output=True, text=True
    )
    return probe.stderr.strip()


def _suite() -> list[str]:
    """Address and release that this machine installs Debian from."""
    return [
        next(
            line.split()[1]
            for line in SOURCES.read_text().splitlines()
            if line.startswith(name)
        )
        for name in ("URIs:", "Suites:")
    ]


def call(*command, **options) -> str:
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, (
        f"{' '.join(command)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    )
    return done.stdout


@dataclass
class Image:
    """An image's file system, mounted, and its configuration."""

    root: Path
    config: dict

    @property
    def health_check(self) -> list[str]:
        return self.config["Healthcheck"]["Test"][1:]


@dataclass
class Machine:
    """Builds images and runs containers, all of it below one directory.

    The clients' side of the network is a namespace, too: `ask` runs there.
    """

    directory: Path
    running: list["Container"] = field(default_factory=list)
    _networks: list[str] = field(default_factory=list)
    _made: int = 0

    def __post_init__(self):
        self.clients = self._network("clients")
        call(
            "ip", "-n", self.clients, "link", "add", "switch", "type", "bridge"
        )
        self._address(self.clients, "switch", 1)
        self.hosts = self.directory / "hosts"
        self._name({})

    def build(self, dockerfile: Path, context: Path) -> Image:
        base = os.environ.get("PYTHON_IMAGE") or self._base()
        pip = self.directory / "pip.conf"
        # A mirror and its certificate are this machine's, not the image's.
        index = os.environ.get("PIP_INDEX_URL", "")
        pip.write_text(
            "[global]\ntimeout = 180\n"
            + "cert = /run/secrets/ca\n" * CA.exists()
            + f"index-url = {index}\n" * bool(index)
        )
        tag = f"localhost/{dockerfile.name.lower()}:test"
        self._buildah(
            *("bud", "--network=host", "--isolation=chroot"),
            *("--format=docker", f"--build-arg=PYTHON_IMAGE={base}"),
            f"--secret=id=pip,src={pip}",
            *([f"--secret=id=ca,src={CA}"] if CA.exists() else []),
            *("-f", str(dockerfile), "-t", tag, str(context)),
        )
        container = self._buildah("from", tag).strip()
        root = self._buildah("mount", container).strip()
        found = json.loads(self._buildah("inspect", container))
        return Image(Path(root), found["Docker"]["config"])

    def _base(self) -> str:
        if BASE not in self._buildah(
            "images", "--format", "{{.Name}}:{{.Tag}}"
        ):
            container = self._buildah("from", "scratch").strip()
            root = Path(self._buildah("mount", container).strip())
            mirror, release = _suite()
            call(
                *("debootstrap", "--variant=minbase"),
                "--include=python3,python3-pip,python3-venv,ca-certificates",
                *(release, str(root), mirror),
            )
            (root / "usr/bin/python").symlink_to("python3")
            self._buildah("commit", "--quiet", container, BASE)
            self._buildah("rm", container)
        return BASE

    def _buildah(self, *arguments: str) -> str:
        return call(
            *("buildah", "--root", str(self.directory / "images")),
            *("--runroot", str(self.directory / "images.run"), *arguments),
        )

    def start(self, name: str, image: Image, **options) -> "Container":
        """Starts a container; the options are those of `Container`."""
        self._made += 1
        network = self._network(f"{name}-{self._made}")
        address = self._connect(network)
        names = {
            found.service: found.address
            for found in self.running
            if found.is_running
        }
        self._name({**names, name: address})
        found = Container(
            service=name,
            name=f"{name}-{self._made}",
            image=image,
            directory=self.directory,
            network=network,
            address=address,
            **options,
        )
        self.running.append(found)
        return found

    def _name(self, addresses: dict[str, str]) -> None:
        """Who is where, for all containers; an engine has a service for it.

        The file is written in place, since containers hold on to it.
        """
        lines = [f"{address} {name}" for name, address in addresses.items()]
        self.hosts.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))

    def ask(self, *command: str, **options) -> subprocess.CompletedProcess:
        """Runs a command of this machine where the containers are seen."""
        return subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.clients}", *command],
            capture_output=True,
            text=True,
            **options,
        )

    def _network(self, name: str) -> str:
        network = f"{secrets.token_hex(4)}-{name}"
        call("ip", "netns", "add", network)
        self._networks.append(network)
        call("ip", "-n", network, "link", "set", "lo", "up")
        return network

    def _connect(self, network: str) -> str:
        """A cable from the switch to a container of its own address."""
        cable = f"cable{self._made}"
        call(
            *("ip", "-n", self.clients, "link", "add", cable, "master"),
            *("switch", "up", "type", "veth"),
            *("peer", "name", "eth0", "netns", network),
        )
        return self._address(network, "eth0", 1 + self._made)

    def _address(self, network: str, device: str, number: int) -> str:
        # Addresses that are kept for documents, so nobody's.
        address = f"198.51.100.{number}"
        call(
            *("ip", "-n", network, "address", "add", f"{address}/24"),
            *("dev", device),
        )
        call("ip", "-n", network, "link", "set", device, "up")
        return address

    def close(self) -> None:
        for container in reversed(self.running):
            container.stop()
        with contextlib.suppress(AssertionError):
            self._buildah("umount", "--all")
        for network in self._networks:
            call("ip", "netns", "del", network)
        shutil.rmtree(self.directory)


@dataclass
class Container:
    """One running command of an image.

    Attributes:
        service: The name that others find it by, also its own.
        command: All of it, entrypoint included.
        mounts: Directory here and "ro" or "rw", by path inside.
        tmpfs: Paths that start empty and may be written to.
        user: "uid:gid".
        environment: Beside the image's; here and in the command $(POD_IP) is
            the container's address, as Kubernetes has it.
    """

    service: str
    name: str
    image: Image
    directory: Path
    network: str
    address: str
    command: list[str]
    mounts: dict[str, tuple[Path, str]] = field(default_factory=dict)
    tmpfs: list[str] = field(default_factory=lambda: ["/tmp"])
    user: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        bundle = self.directory / "bundles" / self.name
        bundle.mkdir(parents=True)
        hosts = self.directory / "hosts"
        self.mounts = {**self.mounts, "/etc/hosts": (hosts, "ro")}
        (bundle / "config.json").write_text(json.dumps(self._config()))
        self._log = bundle / "log"
        self._process = subprocess.Popen(
            self._crun("run", "--bundle", str(bundle), self.name),
            stdout=self._log.open("w"),
            stderr=subprocess.STDOUT,
        )

    def _crun(self, *arguments: str) -> list[str]:
        # crun refuses machines that have both generations of control groups,
        # so it is shown one; limits would need the other.
        return [
            *("unshare", "--mount", "sh", "-c"),
            'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"',
            *("sh", "crun", "--root", str(self.directory / "crun")),
            *("--cgroup-manager=disabled", *arguments),
        ]

    def _config(self) -> dict:
        config = json.loads(
            call("sh", "-c", "cd $(mktemp -d) && crun spec && cat config.json")
        )
        settings = self.image.config
        uid, gid = (self.user or settings["User"]).split(":")
        inside = settings["Env"] + [
            f"{name}={self._filled(text)}"
            for name, text in self.environment.items()
        ]
        config["process"] = {
            "terminal": False,
            "user": {"uid": int(uid), "gid": int(gid)},
            "args": [self._filled(part) for part in self.command],
            "env": inside,
            "cwd": settings["WorkingDir"],
            "capabilities": {},
            "noNewPrivileges": True,
        }
        config["root"] = {"path": str(self.image.root), "readonly": True}
        config["hostname"] = self.service
        linux = config["linux"]
        linux.pop("resources", None)
        linux["namespaces"] = [
            {"type": "network", "path": f"/run/netns/{self.network}"},
            *({"type": kind} for kind in ("pid", "ipc", "uts", "mount")),
        ]
        config["mounts"] = [
            mount
            for mount in config["mounts"]
            if mount["destination"] != "/sys/fs/cgroup"
        ]
        config["mounts"] += [
            {"destination": path, "type": "tmpfs", "source": "tmpfs"}
            for path in self.tmpfs
        ]
        config["mounts"] += [
            {
                "destination": path,
                "source": str(source.resolve()),
                "options": ["rbind", mode],
            }
            for path, (source, mode) in self.mounts.items()
        ]
        return config

    def _filled(self, text: str) -> str:
        return text.replace("$(POD_IP)", self.address)

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def log(self) -> str:
        return self._log.read_text()

    def execute(self, *command: str) -> subprocess.CompletedProcess:
        """Runs another command inside, as a health check is run."""
        return subprocess.run(
            self._crun("exec", self.name, *command),
            capture_output=True,
            text=True,
        )

    def is_healthy(self, check: list[str]) -> bool:
        assert self.is_running, self.log()[-3000:]
        return self.execute(*check).returncode == 0

    def wait(self, seconds: float) -> int:
        return self._process.wait(seconds)

    def peak_memory(self) -> int:
        """The most bytes that any of its processes has held at once."""
        status = self.execute("sh", "-c", "cat /proc/[0-9]*/status").stdout
        return 1024 * max(
            int(line.split()[1])
            for line in status.splitlines()
            if line.startswith("VmHWM:")
        )

    def stop(self, name: int = signal.SIGTERM) -> int:
        """Sends a signal, as an engine does, and returns the exit status."""
        if self.is_running:
            subprocess.run(self._crun("kill", self.name, str(int(name))))
            try:
                return self.wait(30)
            except subprocess.TimeoutExpired:
                subprocess.run(self._crun("kill", self.name, "9"))
        return self.wait(10)
