"""The client when things break: retries, swaps, degraded answers, TLS."""

import datetime
import math
import time

import grpc
import pytest

from serving.client import (
    BOTH_UNAVAILABLE,
    RANKING_UNAVAILABLE,
    RETRIEVAL_UNAVAILABLE,
    Query,
    RecommenderClient,
    Retry,
    ServingError,
    Tls,
)
from tests.support.fake_server import FakeServer
from tests.support.waiting import eventually

POPULAR = ["i19", "i1", "i2", "i3"]
QUICK = Retry(initial_backoff_seconds=0.005, swap_wait_seconds=0.3)


@pytest.fixture
def two():
    """Retrieval and ranking on servers of their own, signatures learned."""
    with FakeServer(["retrieval"]) as first, FakeServer(["ranking"]) as second:
        yield first, second


@pytest.fixture
def client(two, make):
    first, second = two
    with make(
        {"*": first.target, "ranking": second.target},
        popular=POPULAR,
        retries=QUICK,
        timeout_seconds=1.5,
    ) as found:
        assert found.recommend(Query()).degraded == ""
        yield found


def test_unavailable_is_tried_again_and_counted(client, two):
    two[0].faults["retrieval"] = ["UNAVAILABLE", "UNAVAILABLE"]
    before = two[0].calls["Predict", "retrieval"]

    answer = client.recommend(Query(), k=1)

    assert answer.degraded == ""
    assert answer.retries == 2
    assert two[0].calls["Predict", "retrieval"] == before + 3


@pytest.mark.parametrize("code", ["DEADLINE_EXCEEDED", "INTERNAL", "UNKNOWN"])
def test_other_codes_are_not_tried_again(client, two, code):
    two[1].faults["ranking"] = code
    before = two[1].calls["Predict", "ranking"]

    answer = client.recommend(Query(), k=1)

    assert answer.degraded == RANKING_UNAVAILABLE
    assert two[1].calls["Predict", "ranking"] == before + 1


def test_a_full_server_is_asked_once_more(client, two):
    two[1].faults["ranking"] = ["RESOURCE_EXHAUSTED"]

    answer = client.recommend(Query(), k=1)

    assert (answer.degraded, answer.retries) == ("", 1)

    two[1].faults["ranking"] = "RESOURCE_EXHAUSTED"
    before = two[1].calls["Predict", "ranking"]

    assert client.recommend(Query(), k=1).degraded == RANKING_UNAVAILABLE
    assert two[1].calls["Predict", "ranking"] == before + 2


def test_attempts_are_limited(client, two):
    two[0].faults["retrieval"] = "UNAVAILABLE"
    before = two[0].calls["Predict", "retrieval"]

    with pytest.raises(ServingError, match="after 4 calls") as caught:
        client.retrieve(Query())

    assert caught.value.code == "UNAVAILABLE"
    assert two[0].calls["Predict", "retrieval"] == before + 4


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "FAILED_PRECONDITION"])
def test_a_mistake_is_raised_and_never_degraded(client, two, code):
    two[1].faults["ranking"] = code

    with pytest.raises(ServingError) as caught:
        client.recommend(Query())

    assert caught.value.code == code


def test_ranking_down_gives_retrievals_order(client, two):
    two[1].stop()

    answer = client.recommend(Query(history=["i19"]), k=3)

    assert answer.degraded == RANKING_UNAVAILABLE
    assert answer.item_ids == ("i18", "i17", "i16")
    assert answer.scores == (18.0, 17.0, 16.0)
    assert answer.version == 1
    assert "UNAVAILABLE" in answer.reason


def test_ranking_never_deployed_gives_retrievals_order_at_once(make):
    with FakeServer(["retrieval"]) as server, make(server.target) as client:
        client.recommend(Query())

        answer = client.recommend(Query(), k=1)

    assert answer.degraded == RANKING_UNAVAILABLE
    assert answer.retries == 0


def test_retrieval_down_ranks_popular_items(client, two):
    two[0].stop()

    answer = client.recommend(Query(history=["i1"], excluded_ids=["i2"]))

    assert answer.degraded == RETRIEVAL_UNAVAILABLE
    assert answer.item_ids == ("i3", "i19")
    assert answer.scores == (-3.0, -19.0)


def test_both_down_gives_popular_items_not_seen(client, two):
    two[0].stop()
    two[1].stop()

    answers = client.recommend([Query(history=["i1"]), Query()], k=2)

    assert [answer.item_ids for answer in answers] == [
        ("i19", "i2"),
        ("i19", "i1"),
    ]
    for answer in answers:
        assert answer.degraded == BOTH_UNAVAILABLE
        assert all(math.isnan(score) for score in answer.scores)
        assert answer.version == 0


def test_both_down_without_a_list_raises(make, two):
    targets = {"*": two[0].target, "ranking": two[1].target}
    two[0].stop()
    two[1].stop()

    with make(targets, retries=QUICK) as client:
        with pytest.raises(ServingError) as caught:
            client.recommend(Query())

    assert caught.value.code == "UNAVAILABLE"


def test_a_restarted_server_is_found_again(client, two):
    two[1].stop()
    assert client.recommend(Query()).degraded
    two[1].restart()

    eventually(lambda: not client.recommend(Query()).degraded, 3)


def test_slow_retrieval_leaves_time_for_ranking(client, two):
    two[0].delays["retrieval"] = 5.0

    answer = client.recommend(Query(), timeout_seconds=0.8)

    # So ranking answered, in what was left.
    assert answer.degraded == RETRIEVAL_UNAVAILABLE


def test_slow_ranking_answers_at_the_deadline(client, two):
    two[1].delays["ranking"] = 5.0

    answer = client.recommend(Query(), timeout_seconds=0.4)

    assert answer.degraded == RANKING_UNAVAILABLE


def test_a_deadline_that_passes_is_named(client, two):
    two[0].delays["retrieval"] = 5.0

    with pytest.raises(ServingError, match="deadline 0.2 s") as caught:
        client.retrieve(Query(), timeout_seconds=0.2)

    assert caught.value.code == "DEADLINE_EXCEEDED"


def test_ranking_is_pinned_to_retrievals_version(client, two):
    two[0].versions["retrieval"] = [1, 2]
    two[1].versions["ranking"] = [1, 2, 3]

    assert client.recommend(Query()).version == 2


class Later(list):
    """Versions that appear after a while, as in a swap.

    Args:
        before: Loaded now.
        after: Loaded once `seconds` have passed.
    """

    def __init__(self, before, after, seconds):
        super().__init__(before)
        self.after, self.at = after, time.monotonic() + seconds

    def __iter__(self):
        if time.monotonic() >= self.at:
            self[:] = self.after
        return super().__iter__()

    def __contains__(self, version):
        return version in list(iter(self))


def test_a_swap_that_ranking_is_late_for_is_waited_out(client, two):
    two[0].versions["retrieval"] = [2]
    two[1].versions["ranking"] = Later([1], [2], 0.1)

    answer = client.recommend(Query())

    assert answer.degraded == ""
    assert answer.version == 2
    assert answer.retries >= 1


def test_a_swap_that_retrieval_is_late_for_is_waited_out(client, two):
    two[1].versions["ranking"] = [2]
    two[0].versions["retrieval"] = Later([1], [2], 0.1)

    answer = client.recommend(Query())

    assert answer.degraded == ""
    assert answer.version == 2


def test_a_swap_that_takes_too_long_degrades(client, two):
    two[0].versions["retrieval"] = [2]

    began = time.monotonic()
    answer = client.recommend(Query(), timeout_seconds=30)

    assert answer.degraded == RANKING_UNAVAILABLE
    assert answer.version == 2
    # The wait for a swap ends long before the deadline.
    assert time.monotonic() - began < 10


def test_a_pinned_version_is_waited_for(client, two):
    two[1].versions["ranking"] = Later([1], [2], 0.1)

    assert client.rank(Query(), ["i1"], version=2).version == 2
    with pytest.raises(ServingError, match="Specific.ranking, 9"):
        client.rank(Query(), ["i1"], version=9)


def certificate(directory, name, issuer=None):
    """Writes `<name>.pem` and `<name>.key`, signed by `issuer` or itself."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    signer, signing = issuer or (subject, key)
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("models.test")]), False
        )
        .add_extension(x509.BasicConstraints(issuer is None, None), True)
        .sign(signing, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / f"{name}.pem").write_bytes(made.public_bytes(pem))
    (directory / f"{name}.key").write_bytes(
        key.private_bytes(
            pem,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return subject, key


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    found = tmp_path_factory.mktemp("keys")
    authority = certificate(found, "ca")
    certificate(found, "server", authority)
    certificate(found, "application", authority)
    certificate(found, "stranger")
    return found


@pytest.fixture
def secure(keys):
    credentials = grpc.ssl_server_credentials(
        [
            (
                (keys / "server.key").read_bytes(),
                (keys / "server.pem").read_bytes(),
            )
        ],
        (keys / "ca.pem").read_bytes(),
        require_client_auth=True,
    )
    with FakeServer(credentials=credentials) as found:
        yield found


def tls(keys, ca="ca", own="application"):
    return Tls(
        keys / f"{ca}.pem",
        keys / f"{own}.pem" if own else "",
        keys / f"{own}.key" if own else "",
        "models.test",
    )


def test_tls_with_a_client_certificate(secure, keys, make):
    with make(secure.target, tls=tls(keys)) as client:
        assert client.recommend(Query(), k=1).degraded == ""


@pytest.mark.parametrize(
    ("ca", "own"),
    [("stranger", "application"), ("ca", ""), ("ca", "stranger"), (None, "")],
    ids=["wrong CA", "no certificate", "wrong certificate", "plaintext"],
)
def test_tls_refuses(secure, keys, make, ca, own):
    options = {"tls": tls(keys, ca, own)} if ca else {}
    with make(
        secure.target, retries=Retry(attempts=1), timeout_seconds=1, **options
    ) as client:
        with pytest.raises(ServingError) as caught:
            client.retrieve(Query())

    assert caught.value.code == "UNAVAILABLE"
    assert not secure.calls


def test_tls_files_are_checked_at_once():
    with pytest.raises(ServingError, match="must be readable.*'/none'"):
        RecommenderClient("x:1", tls=Tls("/none"))
    with pytest.raises(ServingError, match="go together"):
        Tls(certificate="a.pem")


def test_a_fallback_list_from_files(tmp_path):
    from serving.client import fallback

    (tmp_path / "a.json").write_text('["i1", "i2"]')
    (tmp_path / "b.json").write_text('[{"item_id": "i1", "title": "One"}]')
    (tmp_path / "c.txt").write_text("i1\tOne\n\ni2\n")

    assert fallback.read(tmp_path / "a.json") == ("i1", "i2")
    assert fallback.read(tmp_path / "b.json") == ("i1",)
    assert fallback.read(tmp_path / "c.txt") == ("i1", "i2")
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(ServingError, match="an id is not a string"):
        fallback.read(tmp_path / "a.json")
