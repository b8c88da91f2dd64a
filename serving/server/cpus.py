"""The processors of this process: how many, and who goes first.

A node has 64 cores where a container may use two. Threads for all of them
would wait for each other inside the quota, and hold memory.
"""

import math
import os
import sys
from pathlib import Path

_CONTROL_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
# Loading and freeing compute for seconds; requests go first. Lower than 10 a
# load would hardly come forward beside busy requests, and hold locks that they
# wait for.
_NICE = 10


def available(
    control_groups: Path = _CONTROL_GROUPS, own_groups: Path = _OWN_GROUPS
) -> int:
    """Processors of the affinity, or of the quota where that is less.

    At least 1: a share of a processor counts as one.
    """
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = min(_quotas(control_groups, own_groups), default=math.inf)
    return max(1, math.ceil(min(count, quota)))


def give_way() -> None:
    """Lets requests go before this thread; only on Linux is it one alone.

    It cannot be taken back.
    """
    if sys.platform == "linux":
        os.nice(max(0, _NICE - os.nice(0)))


def _quotas(control_groups: Path, own_groups: Path) -> list[float]:
    """Limits of the process's groups and of those around them."""
    try:
        lines = own_groups.read_text().splitlines()
    except OSError:
        return []  # Not Linux, or no control groups.
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, files = control_groups, ["cpu.max"]
        elif "cpu" in controllers.split(","):
            root = control_groups / "cpu"
            files = ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        else:
            continue
        inner = Path(path.lstrip("/"))
        for group in (inner, *inner.parents):
            quota = _quota([root / group / name for name in files])
            if quota is not None:
                found.append(quota)
    return found


def _quota(files: list[Path]) -> float | None:
    """Processors that "200000 100000" stands for; None for no limit."""
    try:
        words = " ".join(file.read_text() for file in files).split()
    except OSError:
        # Inside a container the outer groups are not visible.
        return None
    if words[0] in ("max", "-1"):
        return None
    return int(words[0]) / int(words[1])
