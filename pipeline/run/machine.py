"""What a step ran on, and the most memory it took.

Kept in a step's record beside its seconds; nothing is computed from it.
"""

import contextlib
import os
import platform
import re
import resource
import sys
from pathlib import Path

_SELF = Path("/proc/self")


def describe() -> dict[str, str | int]:
    """Python, system and processor, and how many of its cores are ours."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE")
        * os.sysconf("SC_PHYS_PAGES"),
    }


def _cpu() -> str:
    text = ""
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


def reset_peak() -> None:
    """Begins the measurement of `peak_bytes` anew, where the kernel allows."""
    with contextlib.suppress(OSError):
        # proc(5): 5 sets the high-water mark to what is in use now.
        (_SELF / "clear_refs").write_text("5")


def peak_bytes() -> int:
    """Most memory in use by this process since `reset_peak`.

    Since its start where the mark cannot be reset; other processes, such as
    those of Spark, are not in it.
    """
    with contextlib.suppress(OSError):
        text = (_SELF / "status").read_text(encoding="utf-8")
        if found := re.search(r"^VmHWM:\s*(\d+) kB$", text, re.MULTILINE):
            return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
