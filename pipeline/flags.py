"""What the commands of `python -m pipeline` take besides the options of all."""

import argparse
from pathlib import Path
from typing import Any


# Their names are what argparse calls a value that is none of them.
def count(text: str) -> int:
    """A positive number; 100_000_000 reads better than its digits."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def seed(text: str) -> int:
    """A number that NumPy draws from."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must be at least 0")
    return number


def hours(text: str) -> float:
    """A window; a million hours are more than a century."""
    number = float(text)
    if not 0 < number < 1_000_000:
        raise argparse.ArgumentTypeError(
            "must be more than 0 and below a million"
        )
    return number


def shard(text: str) -> tuple[int, int]:
    """Which slice of how many."""
    which, _slash, of = text.partition("/")
    if not (which.isdigit() and of.isdigit() and int(which) < int(of)):
        raise argparse.ArgumentTypeError(
            "must be I/N with I from 0 to N - 1, such as 0/4"
        )
    return int(which), int(of)


def _takes(text: str, **settings: Any) -> dict[str, Any]:
    """An argument of a command: what it is for, and how it is read."""
    return {"help": text, **settings}


def _switch(text: str) -> dict[str, Any]:
    """One that is given or not."""
    return _takes(text, action="store_true")


# Of every command that makes steps.
OF_STEPS = {
    "--force": _switch("run steps that are up to date as well"),
    "--warm": _switch("train from the live version's weights, in less time"),
    "--wait": _switch("for another command that makes steps of this run"),
    "--accept-data": _takes(
        "train although the data checks refuse; the reason is kept",
        default="",
        metavar="REASON",
    ),
}
_WHY = {"--why": _takes("a reason for the ledger", default="")}
_REPLAY = {
    "--replay": _takes(
        "logged requests that the new version must answer as well",
        default="",
        metavar="LOG",
    )
}
_LOG = _takes("a file, a folder or a pattern of logged requests", required=True)
ARGUMENTS: dict[str, dict[str, dict[str, Any]]] = {
    "publish": _REPLAY,
    "retrain": _REPLAY,
    "outcomes": {
        "--log": _LOG,
        "--interactions": _takes(
            "a file, folder or pattern, read as the run's own", required=True
        ),
        "--hours": _takes(
            "after which an interaction counts no more",
            type=hours,
            default=24,
        ),
        "--k": _takes(
            "places of a list that are shown", type=count, default=10
        ),
        "--key": _takes(
            "under which the log hides its users", type=Path, metavar="FILE"
        ),
    },
    "replay": {
        "--log": _LOG,
        "--live": _takes(
            "an address or a version; the live one if not given",
            default="",
            metavar="HOST:PORT|VERSION",
        ),
        "--new": _takes(
            "an address, a version, or what the run exported",
            default="export",
            metavar="HOST:PORT|VERSION|export",
        ),
        "--requests": _takes(
            "that are asked, drawn from the log", type=count, default=2_000
        ),
    },
    "index": {
        "--shard": _takes(
            "only slice I of N, counted from 0; `index` merges them",
            type=shard,
            metavar="I/N",
        ),
        "--items": _takes(
            "give the live version the items of this file, without training",
            default="",
            metavar="FILE",
        ),
    },
    "train-retrieval": {
        "--workers": _takes(
            "processes that train together; TF_CONFIG says the same",
            default="",
            metavar="HOST:PORT,...",
        ),
        "--worker": _takes(
            "which of them this one is, from 0, the chief",
            type=int,
            metavar="I",
        ),
    },
    "rollback": {
        "--to": _takes(
            "which release; without it the trial ends, or the one before the "
            "live version returns",
            type=count,
            metavar="VERSION",
        ),
        **_WHY,
    },
    "canary": {
        "--share": _takes(
            "percent of users, 1 to 100", type=int, required=True
        ),
        **_REPLAY,
        **_WHY,
    },
    "promote": {
        "--if-healthy": _takes(
            "ask Prometheus: after an hour without alerts it is live, after "
            "one it is taken away, before that it stays on trial",
            default="",
            metavar="URL",
        ),
        **_WHY,
    },
    "prune": {
        "--keep": _takes(
            "of the newest versions", type=int, required=True, metavar="N"
        )
    },
    "completion": {
        "shell": _takes("whose completion", choices=("bash", "zsh"))
    },
    "options": {
        "section": _takes("such as retrieval, or all", nargs="?", default="")
    },
    "init-config": {
        "--interactions": _takes("a file, folder or pattern", required=True),
        "--items": _takes("the catalogue, if there is one", default=""),
        "--users": _takes("what is known of users", default=""),
    },
    "check": {
        "config": _takes(
            "instead of --config",
            nargs="?",
            default=argparse.SUPPRESS,
            metavar="CONFIG",
        )
    },
    "generate": {
        "--interactions": _takes("how many", type=count, required=True),
        "--directory": _takes("where to", type=Path, required=True),
        "--seed": _takes("of what is drawn", type=seed, default=0),
    },
    "spark-up": {"--port": _takes("of the master", type=int, default=7077)},
    "bench-scale": {
        "--interactions": _takes("sizes to measure", type=count, nargs="*"),
        "--directory": _takes(
            "of logs and figures", type=Path, default="artifacts/bench"
        ),
        "--price": _takes(
            "of a core", type=float, default=0.05, metavar="PER_HOUR"
        ),
    },
    "ondevice-android": {
        "--output": _takes(
            "where to", type=Path, default=Path("artifacts/android")
        ),
        "--genres": _takes(
            "item column of genres; `genres` where there is one"
        ),
    },
    "bench-ondevice": {
        "--rounds": _takes("calls that are timed", type=count, default=2_000)
    },
    "ablation": {
        "--seeds": _takes(
            "trainings of each variant", type=int, default=1, choices=(1, 2, 3)
        ),
        "--only": _takes("part of a variant's name", default=""),
    },
    "recommend": {
        "--user": _takes("an id, known or not", default=""),
        "--target": _takes("a gRPC address", default="127.0.0.1:8500"),
        "--filter": _takes(
            "FEATURE=VALUES, commas between: items that have any of them; "
            "repeat for more features",
            action="append",
            default=[],
        ),
    },
    "explore": {
        "--port": _takes("of the page; 0 for any", type=int, default=8080),
        "--target": _takes(
            "gRPC address of a running server; without it the one on "
            "127.0.0.1:8500, else one of its own on what is published",
            default="",
            metavar="HOST:PORT",
        ),
        "--rest": _takes(
            "REST address of that server; without it the next port",
            default="",
            metavar="HOST:PORT",
        ),
        "--projector": {
            "action": "store_true",
            "help": "write the items' vectors for TensorBoard instead",
        },
    },
}

# Of which a command takes one at most.
EITHER = ("--shard", "--items")
