"""Turns a failed call into a ServingError a person can act on."""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.client.transport.retry import SILENT
from serving.errors import ServingError


@dataclass(eq=False)
class CallFailed(Exception):
    """One call came back with a gRPC status other than OK.

    Attributes:
        proxy: On the way to the target, "" for none.
    """

    code: str
    details: str
    target: str
    proxy: str = ""


class Closed(Exception):
    """The client was closed before, or during, a question."""


_RULES = {
    "UNAVAILABLE": (
        "A server must answer for model {model!r}",
        "Start one (`python -m serving.server --port=8500 "
        "--model_config_file=...`), or correct the target or its TLS files",
    ),
    "CANCELLED": (
        "A server must stay until it has answered for model {model!r}",
        "Look whether it was stopped, and add replicas",
    ),
    "DEADLINE_EXCEEDED": (
        "Model {model!r} must answer within the deadline",
        "Give more `timeout_seconds` or look at the server's load",
    ),
    "NOT_FOUND": (
        "Model {model!r} must be published where it is asked for",
        "`python -m serving.client status` lists what the server has",
    ),
    "INVALID_ARGUMENT": (
        "A request to {model!r} must fit the model's signature",
        "Correct the query; its features must have the model's names and types",
    ),
    "FAILED_PRECONDITION": (
        "A request to {model!r} must fit the model's signature",
        "Publish a version that has what was asked for",
    ),
    "RESOURCE_EXHAUSTED": (
        "Model {model!r} must have room for another request",
        "Ask less at once, add replicas or raise the server's limits",
    ),
    "": (
        "Model {model!r} must answer",
        "Look at the server's log for this request",
    ),
    "UNIMPLEMENTED": (
        "The target must speak TensorFlow Serving's API",
        "Check that it is a model server's gRPC port, not its REST port",
    ),
}


def translate(
    failed: Sequence[CallFailed], model: str, timeout_seconds: float
) -> ServingError:
    """Words failed calls: rule, what was received, from where, what to do."""
    # What a server said tells more than another's silence.
    told = [one for one in failed if one.code not in SILENT]
    failure = (told or failed)[-1]
    rule, action = _RULES.get(failure.code, _RULES[""])
    way = failure.target
    if failure.proxy and failure.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
        way += f" by way of the proxy in {failure.proxy}"
        action = (
            "Name the server in the environment's `no_grpc_proxy`, or make "
            'the client with options={"grpc.enable_http_proxy": 0}; if the '
            "proxy is right, look whether the server runs"
        )
    calls = f" after {len(failed)} calls" if len(failed) > 1 else ""
    return ServingError(
        f"{rule.format(model=model)}. Received: {failure.code}: "
        f"{failure.details.rstrip('.')} (from {way}{calls}, "
        f"deadline {timeout_seconds:.3g} s). {action}.",
        failure.code,
    )
