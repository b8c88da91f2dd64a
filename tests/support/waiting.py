"""How tests wait: for other threads and processes, and for coroutines."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(check: Callable[[], T], seconds: float = 60.0) -> T:
    """Waits for a check to hold and returns what it gave.

    As long as a crowded machine may take: only what fails waits that long.
    """
    end = time.monotonic() + seconds
    while True:
        found = check()
        if found or time.monotonic() > end:
            assert found, "it never came true"
            return found
        time.sleep(0.005)


class Awaited:
    """The asyncio client with blocking methods, for one suite over both."""

    def __init__(self, *args, **options):
        self._loop = asyncio.new_event_loop()

        async def make():
            from serving.client import AsyncRecommenderClient

            return AsyncRecommenderClient(*args, **options)

        self._client = self._loop.run_until_complete(make())

    def __getattr__(self, name):
        method = getattr(self._client, name)
        return lambda *args, **options: self._loop.run_until_complete(
            method(*args, **options)
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._loop.run_until_complete(self._client.close())
        self._loop.close()
