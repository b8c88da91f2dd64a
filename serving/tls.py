"""Credentials of the gRPC port from an `SSLConfig` text file.

The file holds the PEM texts themselves, so it is as secret as the key. REST
has no TLS, as in TensorFlow Serving: put a proxy in front of it.
"""

import os
import ssl

import grpc

from serving import config_text
from serving.errors import ServingError
from serving.wire import server_config_pb2

_FLAG = "--ssl_config_file"


def server_credentials(path: str) -> grpc.ServerCredentials:
    """Reads and checks key, certificate and authorities.

    Raises:
        ServingError: If the file is absent or broken, key and certificate do
            not belong together, or clients are to be verified by nobody.
    """
    config = config_text.read(path, server_config_pb2.SSLConfig(), _FLAG)
    key, certificate = config.server_key.encode(), config.server_cert.encode()
    authorities = config.custom_ca.encode()
    if config.client_verify and not authorities:
        raise ServingError(
            "`client_verify` needs `custom_ca`, the authorities of the "
            f"clients' certificates. Received: none (from {path}). Add "
            "custom_ca.",
            "INVALID_ARGUMENT",
        )
    _check(key + b"\n" + certificate, authorities, path)
    return grpc.ssl_server_credentials(
        [(key, certificate)],
        # Given authorities make gRPC ask for client certificates.
        authorities if config.client_verify else None,
        config.client_verify,
    )


def _check(chain: bytes, authorities: bytes, path: str) -> None:
    """gRPC would take broken texts and refuse every handshake later."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # The key must not touch a disk: the library reads files only.
    file = os.memfd_create("chain")
    try:
        os.write(file, chain)
        context.load_cert_chain(f"/proc/self/fd/{file}", password="")
        if authorities:
            context.load_verify_locations(cadata=authorities.decode())
    except (ssl.SSLError, ValueError) as error:
        raise ServingError(
            "An SSLConfig must hold a private key, its certificate and, if "
            f"any, authorities as PEM texts. Received: {error} (from {path}). "
            "Correct the file.",
            "INVALID_ARGUMENT",
        ) from error
    finally:
        os.close(file)
