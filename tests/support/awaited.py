"""The asyncio client behind blocking calls."""

import asyncio

from serving.client import AsyncRecommenderClient


class Awaited:
    """The asyncio client with blocking methods, for one suite over both."""

    def __init__(self, *args, **options):
        self._loop = asyncio.new_event_loop()

        async def make():
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
