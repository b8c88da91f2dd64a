"""TLS on the gRPC port: who is let in and who is not."""

import datetime
import ipaddress

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from serving.errors import ServingError
from serving.server.rpc import tls
from tests.support import rest_calls, serving_models
from tests.support.ports import free_port
from tests.support.serving_calls import Remote, predict_request, running


class Authority:
    """Issues certificates, as PEM bytes."""

    def __init__(self, name):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.pem = self._sign(self._name, self._key, None)

    def issue(self, name):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return private, self._sign(subject, key, "127.0.0.1")

    def _sign(self, subject, key, address):
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(address is None, None), True)
        )
        if address:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(
                    [x509.IPAddress(ipaddress.ip_address(address))]
                ),
                False,
            )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(
            serialization.Encoding.PEM
        )


@pytest.fixture(scope="module")
def authority():
    return Authority("ours")


def _config(path, key, certificate, **fields):
    lines = [
        f"server_key: {_quote(key)}",
        f"server_cert: {_quote(certificate)}",
    ]
    for name, value in fields.items():
        shown = str(value).lower() if value is True else _quote(value)
        lines.append(f"{name}: {shown}")
    path.write_text("\n".join(lines))
    return path


def _quote(pem):
    return '"' + pem.decode().replace("\n", "\\n") + '"'


def _serve(tmp_path, config, *arguments):
    serving_models.publish(
        serving_models.originals()["affine"], tmp_path / "affine", 1
    )
    return running(
        "--model_name=affine",
        f"--model_base_path={tmp_path / 'affine'}",
        f"--ssl_config_file={config}",
        *arguments,
    )


def _ask(server, credentials):
    remote = Remote(f"127.0.0.1:{server}", credentials)
    try:
        return remote(predict_request(), timeout=3).model_spec.version.value
    except grpc.RpcError as error:
        return error.code().name
    finally:
        remote.close()


def test_only_tls_with_the_right_authority_is_let_in(tmp_path, authority):
    config = _config(tmp_path / "ssl", *authority.issue("server"))
    rest = free_port()
    with _serve(tmp_path, config, f"--rest_api_port={rest}") as (_, remote):
        port = remote.target.rpartition(":")[2]
        assert _ask(port, grpc.ssl_channel_credentials(authority.pem)) == 1
        other = grpc.ssl_channel_credentials(Authority("other").pem)
        assert _ask(port, other) == "UNAVAILABLE"
        assert _ask(port, None) == "UNAVAILABLE"
        # Probes have no certificates: REST is never TLS.
        with rest_calls.asking(rest) as ask:
            assert ask("/readyz") == (200, "ok\n")


def test_clients_may_have_to_show_a_certificate(tmp_path, authority):
    config = _config(
        tmp_path / "ssl",
        *authority.issue("server"),
        custom_ca=authority.pem,
        client_verify=True,
    )
    with _serve(tmp_path, config) as (_, remote):
        port = remote.target.rpartition(":")[2]

        def ask(pair):
            return _ask(
                port, grpc.ssl_channel_credentials(authority.pem, *pair)
            )

        assert ask(authority.issue("client")) == 1
        assert ask(()) == "UNAVAILABLE"
        assert ask(Authority("other").issue("client")) == "UNAVAILABLE"


def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path, authority):
    config = _config(tmp_path / "ssl", *authority.issue("server"))
    renewed = Authority("renewed")
    with _serve(tmp_path, config) as (_, remote):
        port = remote.target.rpartition(":")[2]
        old, new = (
            grpc.ssl_channel_credentials(one.pem)
            for one in (authority, renewed)
        )
        assert (_ask(port, old), _ask(port, new)) == (1, "UNAVAILABLE")

        def replace(text):
            # Like a mounted secret: a new file takes the old one's name.
            (tmp_path / "next").write_bytes(text)
            (tmp_path / "next").rename(config)

        good = _config(tmp_path / "good", *renewed.issue("server")).read_bytes()
        # Half a file changes nothing.
        replace(good[: len(good) // 2])
        assert _ask(port, old) == 1
        replace(good)
        assert (_ask(port, old), _ask(port, new)) == ("UNAVAILABLE", 1)


def test_a_renewal_cannot_stop_the_verification_of_clients(tmp_path, authority):
    pair = authority.issue("server")
    config = _config(
        tmp_path / "ssl", *pair, custom_ca=authority.pem, client_verify=True
    )
    with _serve(tmp_path, config) as (_, remote):
        port = remote.target.rpartition(":")[2]
        for fields in ({}, {"custom_ca": authority.pem}):
            _config(config, *pair, **fields)
            plain = grpc.ssl_channel_credentials(authority.pem)
            assert _ask(port, plain) == "UNAVAILABLE"
            known = grpc.ssl_channel_credentials(
                authority.pem, *authority.issue("client")
            )
            assert _ask(port, known) == 1


def test_broken_configs_are_named(tmp_path, authority):
    path = tmp_path / "ssl"
    key, certificate = authority.issue("server")
    _, another = authority.issue("another")
    for arguments in (
        (b"no key", certificate),
        (key, b"no certificate"),
        (key, another),
    ):
        with pytest.raises(ServingError, match="as PEM texts"):
            tls.server_credentials(str(_config(path, *arguments)))
    with pytest.raises(ServingError, match="needs `custom_ca`"):
        tls.server_credentials(
            str(_config(path, key, certificate, client_verify=True))
        )
    with pytest.raises(ServingError, match="as PEM texts"):
        tls.server_credentials(
            str(_config(path, key, certificate, custom_ca=b"none"))
        )
    path.write_text("server_key {")
    with pytest.raises(ServingError, match="text of a SSLConfig"):
        tls.server_credentials(str(path))
    with pytest.raises(ServingError, match="must exist"):
        tls.server_credentials(str(tmp_path / "absent"))
