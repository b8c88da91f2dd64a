"""A standalone Spark cluster on this machine, from the pip package alone.

A master and its workers as processes of their own: what a cluster of several
machines is, but for the network. For tests and for trying
`prepare.engine = "spark://127.0.0.1:7077"`.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.tables.schema import DataError

START_SECONDS = 90.0


@contextlib.contextmanager
def run(
    directory: Path, num_workers: int = 2, port: int = 0, memory: str = "1g"
) -> Iterator[str]:
    """Runs a master and workers of one core; yields the master's URL.

    Logs and the workers' files go to `directory`; port 0 takes a free one.

    Raises:
        DataError: If pyspark is missing or the cluster does not start.
    """
    try:
        import pyspark
    except ImportError as error:
        raise DataError(
            "A Spark cluster needs pyspark. Received: an environment without "
            "it. Install requirements-spark.txt."
        ) from error
    home = Path(pyspark.__file__).parent
    if not port:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    url = f"spark://127.0.0.1:{port}"
    log = directory / "master.log"
    processes = [
        _start(
            home, directory, log,
            "org.apache.spark.deploy.master.Master",
            "--host", "127.0.0.1", "--port", str(port), "--webui-port", "0",
        )
    ]  # fmt: skip
    try:
        _wait(log, "I have been elected leader", 1, processes)
        for number in range(num_workers):
            processes.append(
                _start(
                    home, directory, directory / f"worker-{number}.log",
                    "org.apache.spark.deploy.worker.Worker",
                    "--host", "127.0.0.1", "--webui-port", "0", "--cores",
                    "1", "--memory", memory, "--work-dir",
                    str(directory / f"work-{number}"), url,
                )
            )  # fmt: skip
        _wait(log, "Registering worker", num_workers, processes)
        yield url
    finally:
        for process in reversed(processes):
            # The group, since a worker has started executors.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _start(
    home: Path, directory: Path, log: Path, *arguments: str
) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "SPARK_HOME": str(home),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(directory),
        "SPARK_NO_DAEMONIZE": "1",
    }
    with log.open("wb") as output:
        return subprocess.Popen(
            [str(home / "bin" / "spark-class"), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _wait(
    log: Path, words: str, times: int, processes: list[subprocess.Popen[bytes]]
) -> None:
    end = time.monotonic() + START_SECONDS
    while log.read_text("utf-8", "replace").count(words) < times:
        dead = any(process.poll() is not None for process in processes)
        if dead or time.monotonic() > end:
            last = log.read_text("utf-8", "replace").strip().splitlines()[-1:]
            raise DataError(
                f"The Spark cluster must start within {START_SECONDS:.0f} "
                f"seconds. Received: {last} (from {log}). Check that Java 17 "
                "is installed (java -version)."
            )
        time.sleep(0.2)
