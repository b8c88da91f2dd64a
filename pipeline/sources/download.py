"""Fetches official MovieLens archives, checked before they are used.

Leaves: the archive at the path asked for, written beside it first and renamed
when its checksum is right, so that an interrupted download leaves nothing.
"""

import hashlib
import os
import re
import urllib.error
import urllib.request
from pathlib import Path

from pipeline.tables.schema import DataError

ADDRESS = "https://files.grouplens.org/datasets/movielens/"
ARCHIVES = tuple(
    f"ml-{release}.zip"
    for release in (
        "100k", "1m", "10m", "20m", "25m", "32m", "latest", "latest-small",
    )
)  # fmt: skip
# Published by GroupLens; those of the others are fetched from beside them.
CHECKSUMS = {"ml-100k.zip": "0e33842e24a9c977be4e0107933c0723"}
TIMEOUT_SECONDS = 30


def fetch(path: Path, address: str = ADDRESS) -> None:
    """Downloads one of the `ARCHIVES`, that of the path's name, to the path.

    Raises:
        DataError: If there is no network, or the checksum is wrong.
    """
    url = address + path.name
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    digest = hashlib.md5(usedforsecurity=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        expected = CHECKSUMS.get(path.name) or _published(url)
        with (
            urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer,
            partial.open("wb") as target,
        ):
            while block := answer.read(2**20):
                digest.update(block)
                target.write(block)
        if digest.hexdigest() != expected:
            raise DataError(
                f"The archive must have the published checksum {expected}. "
                f"Received: {digest.hexdigest()} (from {url}). Try again; "
                "if it stays so, download it by hand and set source.path."
            )
        partial.rename(path)
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise DataError(
            "The data must be there or the network reachable. Received: no "
            f"{path} (from source.path), and {url} answers: {reason}. "
            f"Download {url} on another machine, and put it at {path} or set "
            "source.path to where it is."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _published(url: str) -> str:
    with urllib.request.urlopen(
        url + ".md5", timeout=TIMEOUT_SECONDS
    ) as answer:
        text = answer.read(4096).decode("ascii", "replace")
    found = re.search(r"\b[0-9a-f]{32}\b", text)
    if found is None:
        raise DataError(
            f"{url}.md5 must hold a checksum. Received: {text[:80]!r}. "
            "Download the archive by hand and set source.path."
        )
    return found.group()
