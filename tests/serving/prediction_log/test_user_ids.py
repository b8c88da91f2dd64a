"""Hashes that only who has the key can make."""

import hashlib
import hmac
from pathlib import Path

import pytest

from serving.errors import InvalidRequest
from serving.prediction_log.user_ids import UserIds

KEY = b"0123456789abcdef"


def test_a_hidden_id_is_its_hmac_and_nobody_stays_nobody() -> None:
    user_ids = UserIds(KEY)
    expected = hmac.new(KEY, "ü7".encode(), hashlib.sha256).hexdigest()
    assert user_ids.hidden("ü7") == f"hmac-sha256:{expected}"
    assert user_ids.hidden("") == ""
    assert user_ids.hidden("ü7") != UserIds(KEY[::-1]).hidden("ü7")
    assert KEY.decode() not in repr(user_ids)


def test_the_key_is_read_without_the_end_of_its_line(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY + b"\n")
    assert UserIds.read(tmp_path / "key", "--flag") == UserIds(KEY)


@pytest.mark.parametrize("content", [None, b"", b"short\n"])
def test_a_key_that_can_be_guessed_is_refused(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(InvalidRequest, match="--flag must name a file.*openss"):
        UserIds.read(tmp_path / "key", "--flag")
