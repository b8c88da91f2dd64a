"""Where the models are and how to reach them: targets, TLS, options, paths.

A target is any gRPC address: `host:port`, `dns:///service:8500` (a headless
service: gRPC spreads calls over its addresses, see `_SPREAD`), `unix:/path`.
Targets come as one string for all models, as a list of replicas, or as a
mapping from model name to either, where "*" stands for the models not named.
`transport.fleet` knows replicas that are listed; of the addresses behind a name
it only knows that there may be another one.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import Message

from serving import ids
from serving.client.transport import headers
from serving.errors import InvalidRequest, ModelNotFound
from serving.wire import serving_pb2

Targets = str | Sequence[str] | Mapping[str, str | Sequence[str]]

Request: TypeAlias = (
    serving_pb2.PredictRequest
    | serving_pb2.GetModelMetadataRequest
    | serving_pb2.GetModelStatusRequest
)
Answer = TypeVar("Answer", bound=Message)


@dataclass(frozen=True)
class Method(Generic[Answer]):
    """A method of a model server: its path, and the message it answers with.

    Paths are those of TensorFlow Serving's package, messages are ours.
    """

    path: str
    answer: type[Answer]


PREDICT = Method("PredictionService/Predict", serving_pb2.PredictResponse)
METADATA = Method(
    "PredictionService/GetModelMetadata", serving_pb2.GetModelMetadataResponse
)
STATUS = Method(
    "ModelService/GetModelStatus", serving_pb2.GetModelStatusResponse
)


@dataclass(frozen=True)
class Call:
    """One message to send to a target; the timeout is of this call alone."""

    target: str
    request: Request
    timeout_seconds: float
    metadata: headers.Pairs = ()


# Spreads calls over all addresses of a name. One that fails nearly all calls of
# a second sits out, for two seconds, four the next time, and so on; never more
# than half of them at once, since a caller's mistakes count too.
_SPREAD = {
    "interval": "1s",
    "baseEjectionTime": "2s",
    "maxEjectionPercent": 50,
    "failurePercentageEjection": {
        "threshold": 80,
        "enforcementPercentage": 100,
        "minimumHosts": 2,
        "requestVolume": 1,
    },
    "childPolicy": [{"round_robin": {}}],
}
DEFAULT_OPTIONS: dict[str, object] = {
    # TensorFlow Serving sends up to 2 GiB; gRPC's own limit is 4 MiB.
    "grpc.max_receive_message_length": -1,
    "grpc.max_send_message_length": -1,
    # gRPC waits up to two minutes before it looks for a restarted server.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
    "grpc.service_config": json.dumps(
        {
            "loadBalancingConfig": [
                {"outlier_detection_experimental": _SPREAD},
                # For a gRPC without it.
                {"round_robin": {}},
            ]
        }
    ),
    # Retries are ours to count.
    "grpc.enable_retries": 0,
    # Two clients of one process stay two connections.
    "grpc.use_local_subchannel_pool": 1,
}
# An URL is none; commas and spaces have a place in a few schemes only.
_ADDRESS = re.compile(r"(?:ipv[46]|unix):.+|(?!https?:)[^\s,]+")
_LOOPBACK = re.compile(r"(?:localhost|127(?:\.\d+){3}|\[?::1\]?)(?::\d+)?")
_SERVER_NAME = "grpc.ssl_target_name_override"
_PROXIES = "grpc.enable_http_proxy"


@dataclass(frozen=True)
class Tls:
    """Files of a TLS connection, all PEM.

    Attributes:
        ca: Certificates to trust; "" for the system's.
        certificate: The client's own chain, where the server asks for one.
        private_key: Of `certificate`.
        server_name: Name to expect in the server's certificate, where it
            differs from the target's host.
    """

    ca: str | Path = ""
    certificate: str | Path = ""
    private_key: str | Path = ""
    server_name: str = ""

    def __post_init__(self) -> None:
        if bool(self.certificate) != bool(self.private_key):
            raise InvalidRequest(
                "`certificate` and `private_key` go together. Received: "
                f"{str(self.certificate)!r} and {str(self.private_key)!r} "
                "(in Tls). Give both for a client certificate or neither."
            )

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files into gRPC's credentials."""
        return grpc.ssl_channel_credentials(
            root_certificates=_read(self.ca),
            private_key=_read(self.private_key),
            certificate_chain=_read(self.certificate),
        )


def _read(path: str | Path) -> bytes | None:
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except (OSError, TypeError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidRequest(
            f"A TLS file must be readable. Received: {str(path)!r} "
            f"({why}). Check the path and its permissions."
        ) from error


def options(
    tls: Tls | None, given: Mapping[str, object] | None
) -> list[tuple[str, object]]:
    """Lists the channel options: ours, then the caller's on top.

    Raises:
        ServingError: If what belongs to TLS comes without it: nothing would
            be encrypted.
    """
    if tls is not None and not isinstance(tls, Tls):
        raise InvalidRequest(
            f"`tls` must be a Tls. Received: {tls!r}. Write Tls() to encrypt "
            "and trust the system's CAs."
        )
    given = {} if given is None else given
    if not isinstance(given, Mapping) or not all(
        isinstance(name, str) for name in given
    ):
        raise InvalidRequest(
            "`options` must map names of gRPC channel options to values. "
            f'Received: {given!r}. Write {{"grpc.keepalive_time_ms": 10000}}.',
        )
    if tls is None and _SERVER_NAME in given:
        raise InvalidRequest(
            f"Option {_SERVER_NAME!r} must come with `tls`. Received: no "
            "`tls`, so nothing would be encrypted. Give Tls(server_name=...)."
        )
    merged = dict(DEFAULT_OPTIONS)
    if tls is not None and tls.server_name:
        merged[_SERVER_NAME] = tls.server_name
    merged.update(given)
    return list(merged.items())


def addresses(targets: Targets) -> dict[str, tuple[str, ...]]:
    """Maps model names, and "*" for the others, to their replicas."""
    named: Mapping[str, object] = {"*": targets}
    if isinstance(targets, Mapping) and targets:  # Empty, it is refused below.
        named = targets
    result = {}
    for model, value in named.items():
        given = list(value if ids.is_listed(value) else [value])
        replicas = [
            target
            for target in given
            if isinstance(target, str) and _ADDRESS.fullmatch(target)
        ]
        if not replicas or len(replicas) < len(given):
            raise InvalidRequest(
                "A target must be a gRPC address such as "
                f'"127.0.0.1:8500". Received: {value!r} (for models '
                f"{model!r}). Name the server that answers for them; give "
                "replicas as a list, and TLS by `tls`, not by https."
            )
        result[model] = tuple(replicas)
    return result


def replicas(
    known: Mapping[str, tuple[str, ...]], model: str
) -> tuple[str, ...]:
    """Returns the addresses that answer for a model."""
    found = known.get(model) or known.get("*")
    if not found:
        raise ModelNotFound(
            f"A model must have a target. Received: model {model!r} with "
            f"targets for {', '.join(sorted(known))}. Add it, or a target "
            'for "*".',
        )
    return found


def is_several(target: str) -> bool:
    """Whether a target stands for several addresses, as far as it tells."""
    return target.startswith("dns:") or "," in target


def reaching(
    target: str, given: Sequence[tuple[str, object]] = ()
) -> list[tuple[str, object]]:
    """Options for a target: this machine is reached without a proxy.

    As Go and browsers have it; gRPC and curl have to be told by `no_proxy`.
    """
    options = list(given)
    if _is_here(target) and _PROXIES not in dict(given):
        options.append((_PROXIES, 0))
    return options


def proxy(target: str, given: Sequence[tuple[str, object]]) -> str:
    """Names the HTTP proxy on the way to a target, and where it is set.

    Returns:
        "`http_proxy` (host:port)", or "" where none is used.
    """
    if dict(reaching(target, given)).get(_PROXIES, 1) == 0:
        return ""
    hidden = os.environ.get("no_grpc_proxy") or os.environ.get("no_proxy", "")
    if target.startswith("unix:") or any(
        _host(target).endswith(name.strip())
        for name in hidden.split(",")
        if name
    ):
        return ""
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        if value := os.environ.get(name):
            # Without the password that may stand before the host.
            return f"`{name}` ({urlsplit(value).netloc.rpartition('@')[2]})"
    return ""


def _host(target: str) -> str:
    return target.rpartition("/")[2].rpartition(":")[0]


def _is_here(target: str) -> bool:
    """Whether a target, or each address of one, is this machine."""
    plain = re.sub(r"^(?:ipv[46]|dns):(?://[^/]*/)?", "", target.lower())
    return all(
        _LOOPBACK.fullmatch(address.strip()) for address in plain.split(",")
    )
