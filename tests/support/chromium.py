"""The system's Chromium for tests of pages."""

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextlib.contextmanager
def started() -> Iterator[Any]:
    """A browser without a window; skips where there is none."""
    library = pytest.importorskip(
        "playwright.sync_api", reason="playwright is absent: make setup-dev"
    )
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if not found:
        pytest.skip("Chromium is absent: apt-get install chromium")
    with library.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


def luminance(colour: str) -> float:
    """Of a colour written as #rrggbb, from 0 to 1."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in parts
    ]
    red, green, blue = linear
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Of two colours, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
