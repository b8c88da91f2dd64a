"""Credentials of the gRPC port from an `SSLConfig` text file.

The file holds the PEM texts themselves, so it is as secret as the key. REST
has no TLS, as in TensorFlow Serving: put a proxy in front of it.
"""

import os
import ssl
import threading
from pathlib import Path

import grpc

from serving.errors import ServingError, invalid
from serving.releases import config_text
from serving.server.telemetry import events
from serving.wire import server_config_pb2

_FLAG = "--ssl_config_file"


def server_credentials(path: str) -> grpc.ServerCredentials:
    """Credentials that follow the file: a renewed certificate needs no restart.

    Whether clients are verified stays as it was at the start.

    Raises:
        ServingError: If the file is absent or broken, key and certificate do
            not belong together, or clients are to be verified by nobody.
    """
    follower = _Follower(path)
    return grpc.dynamic_ssl_server_credentials(
        follower.certificates(), follower.renewed, follower.verifies
    )


class _Follower:
    """Reads the file again when it has changed, with the next handshake."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen = config_text.stamp(Path(path))
        self._config = _read(path, False)
        self.verifies = self._config.client_verify

    def certificates(self) -> grpc.ServerCertificateConfiguration:
        """What the file held when it was last good."""
        config = self._config
        return grpc.ssl_server_certificate_configuration(
            [(config.server_key.encode(), config.server_cert.encode())],
            # Given authorities make gRPC ask for client certificates.
            config.custom_ca.encode() if self.verifies else None,
        )

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """New certificates, None where there are none; gRPC asks often."""
        with self._lock:
            present = config_text.stamp(Path(self._path))
            if present == self._seen:
                return None
            self._seen = present
            try:
                config = _read(self._path, self.verifies)
            except ServingError as error:
                # Half a copy, or a mistake: the old ones stay.
                events.error("certificates_refused", error=error)
                return None
            self._config = config
            events.info("certificates_renewed", path=self._path)
            return self.certificates()


def _read(path: str, verifies: bool) -> server_config_pb2.SSLConfig:
    """gRPC would take broken texts and refuse every handshake later."""
    config = config_text.read(path, server_config_pb2.SSLConfig(), _FLAG)
    if (verifies or config.client_verify) and not config.custom_ca:
        raise invalid(
            "`client_verify` needs `custom_ca`, the authorities of the clients'"
            f" certificates. Received: none (from {path}). Add custom_ca."
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # The key must not touch a disk: the library reads files only.
    file = os.memfd_create("chain")
    try:
        os.write(file, f"{config.server_key}\n{config.server_cert}".encode())
        context.load_cert_chain(f"/proc/self/fd/{file}", password="")
        if config.custom_ca:
            context.load_verify_locations(cadata=config.custom_ca)
    except (ssl.SSLError, ValueError) as error:
        raise invalid(
            "An SSLConfig must hold a private key, its certificate and, if "
            f"any, authorities as PEM texts. Received: {error} (from {path}). "
            "Correct the file."
        ) from error
    finally:
        os.close(file)
    return config
