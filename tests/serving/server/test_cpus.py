"""Processors of a container, as the kernel's files tell them."""

import os

import pytest

from serving.server import cpus

ALL = len(os.sched_getaffinity(0))


@pytest.fixture
def control_groups(tmp_path):
    def write(own, **files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return cpus.available(tmp_path, tmp_path / "own")

    return write


def test_without_a_limit_it_is_the_affinity(control_groups, tmp_path):
    assert control_groups("0::/\n", cpu_DOT_max="max 100000\n") == ALL
    assert cpus.available(tmp_path / "none", tmp_path / "none") == ALL
    assert control_groups("0::/\n", cpu_DOT_max="6400000 100000\n") == ALL


def test_the_quota_counts_where_it_is_less(control_groups, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(64))
    # A container sees its own group as the root.
    assert control_groups("0::/\n", cpu_DOT_max="200000 100000\n") == 2
    assert control_groups("0::/\n", cpu_DOT_max="250000 100000\n") == 3
    assert control_groups("0::/\n", cpu_DOT_max="20000 100000\n") == 1


def test_the_tightest_group_around_counts(control_groups, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(64))
    found = control_groups(
        "0::/pods/one\n",
        pods__one__cpu_DOT_max="800000 100000\n",
        pods__cpu_DOT_max="300000 100000\n",
    )
    assert found == 3


def test_the_older_control_groups_count_too(control_groups, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(64))
    own = "5:memory:/docker/a\n4:cpu,cpuacct:/docker/a\n"
    limit = {
        "cpu__cpu.cfs_quota_us": "400000\n",
        "cpu__cpu.cfs_period_us": "100000\n",
    }
    # The outer path is not visible inside, its mount's root is.
    assert control_groups(own, **limit) == 4
    limit["cpu__cpu.cfs_quota_us"] = "-1\n"
    assert control_groups(own, **limit) == 64
