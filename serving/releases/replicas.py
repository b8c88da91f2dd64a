"""Asks every server behind some addresses which versions it has."""

import socket
from collections.abc import Iterable, Sequence
from dataclasses import replace

from serving.client import RecommenderClient, Retry, Tls
from serving.errors import InvalidRequest, ServingError


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
        tls: Tls | None = None,
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
        tls = self._tls
        if tls is not None and not tls.server_name:
            # The certificate is for the name, not for the address behind it.
            tls = replace(tls, server_name=host)
        try:
            with RecommenderClient(
                target,
                timeout_seconds=self._timeout,
                tls=tls,
                retries=Retry(attempts=1),
            ) as client:
                found = client.status([model])
        except ServingError:
            return None
        return {row.version for row in found if row.state == "AVAILABLE"}


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
