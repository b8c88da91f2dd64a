"""Asks every server behind some addresses which versions it has."""

import socket
from collections.abc import Iterable, Sequence

import grpc

from serving.client.transport import channel
from serving.errors import InvalidRequest
from serving.wire import serving_pb2

_AVAILABLE = serving_pb2.ModelVersionStatus.State.AVAILABLE


class Replicas:
    """The servers that some names stand for, now and later.

    Args:
        addresses: `host:port` each; all that a name resolves to are meant,
            as with a headless service.
        tls: How to reach them, None for plaintext.
        timeout_seconds: Of one question.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        tls: channel.Tls | None = None,
        timeout_seconds: float = 2.0,
    ) -> None:
        self._addresses = [_split(address) for address in addresses]
        self._tls = tls
        self._timeout = timeout_seconds

    def lacking(self, model: str, number: int) -> str:
        """Who does not have a version, in words; "" if everybody has it."""
        found = self._ask(model)
        if not found:
            return "no server is known"
        lacking = [
            f"{target} cannot be asked" if has is None else f"{target} has not"
            for target, has in found.items()
            if has is None or number not in has
        ]
        return ", ".join(lacking)

    def may_use(self, models: Iterable[str], number: int) -> bool:
        """Whether some server has a version; one that is silent may."""
        return any(
            has is None or number in has
            for model in models
            for has in self._ask(model).values()
        )

    def _ask(self, model: str) -> dict[str, set[int] | None]:
        """The versions that answer by server, None where none was told."""
        return {
            target: self._versions(target, host, model)
            for host, port in self._addresses
            for target in _resolve(host, port)
        }

    def _versions(self, target: str, host: str, model: str) -> set[int] | None:
        request = serving_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        options = channel.options(self._tls, None)
        if self._tls is None:
            opened = grpc.insecure_channel(target, options)
        else:
            # The certificate is for the name, not for the address behind it.
            if not self._tls.server_name:
                options.append(("grpc.ssl_target_name_override", host))
            opened = grpc.secure_channel(
                target, self._tls.credentials(), options
            )
        with opened:
            ask = channel.STATUS.on(opened)
            try:
                answer = ask(request, timeout=self._timeout)
            except grpc.RpcError as error:
                is_told = error.code() == grpc.StatusCode.NOT_FOUND
                return set() if is_told else None
        return {
            status.version
            for status in answer.model_version_status
            if status.state == _AVAILABLE
        }


def _split(address: str) -> tuple[str, str]:
    host, _, port = address.removeprefix("dns:///").rpartition(":")
    if not host or not port.isdecimal():
        raise InvalidRequest(
            "A server's address must be HOST:PORT. Received: "
            f"{address!r}. Correct it."
        )
    return host.strip("[]"), port


def _resolve(host: str, port: str) -> list[str]:
    """Every address of a name; the name itself where it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        # It cannot be asked, which is what a question will find.
        return [f"{host}:{port}"]
    hosts = dict.fromkeys(str(entry[4][0]) for entry in found)
    return [
        f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
        for name in hosts
    ]
