"""Virtual environments that hold what an image installs and nothing else."""

import subprocess
import sys
from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "serving" / "deploy"


def locked(image: str, directory: Path) -> str:
    """Installs the lock of an image as its Dockerfile does.

    Args:
        image: "server" or "training".
        directory: Where the environment is made.

    Returns:
        The path of its Python.
    """
    lock = DEPLOY / f"requirements-{image}.lock"
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    install = [
        *(directory / "bin" / "python", "-m", "pip", "install", "--quiet"),
        *("--disable-pip-version-check", "--require-hashes"),
    ]
    # What source packages are built with, see Dockerfile.training.
    lines = lock.read_text().splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if "setuptools==" in line)
    last = next(
        i for i in range(first, len(lines)) if not lines[i].endswith("\\\n")
    )
    builds = directory / "build.lock"
    builds.write_text("".join(lines[first : last + 1]))
    subprocess.run([*install, "-r", builds], check=True)
    subprocess.run([*install, "--no-build-isolation", "-r", lock], check=True)
    return str(directory / "bin" / "python")
