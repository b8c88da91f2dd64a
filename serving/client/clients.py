"""The two clients: one for threads, whose questions block, one for asyncio."""

from serving.client.questions import Client, Questions
from serving.client.transport.loop import Loop
from serving.client.transport.threads import Threads, blocking


class RecommenderClient(Client):
    """Asks model servers for recommendations.

    One client serves many threads; make one and keep it. Usable as a context
    manager. Its options are those of `serving.client.questions.Client`, its
    methods those of `serving.client.questions.Questions`: each blocks until
    its answer or deadline.

    Example:
        client = RecommenderClient("127.0.0.1:8500", popular="popular.json")
        answer = client.recommend(Query(history=["50", "181"]), k=10)
        print(answer.item_ids, answer.degraded or "whole")
    """

    _connections: Threads
    _kind = Threads

    retrieve = blocking(Questions.retrieve)
    rank = blocking(Questions.rank)
    recommend = blocking(Questions.recommend)
    similar_items = blocking(Questions.similar_items)
    status = blocking(Questions.status)

    def close(self) -> None:
        """Closes the connections; the client cannot be used afterwards."""
        self._connections.close()

    def __enter__(self) -> "RecommenderClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncRecommenderClient(Questions):
    """Asks model servers for recommendations from an event loop.

    The twin of `serving.client.RecommenderClient`: same options, same answers,
    same rules; its methods are coroutines. One client belongs to one loop.

    Example:
        async with AsyncRecommenderClient("127.0.0.1:8500") as client:
            answer = await client.recommend(Query(history=["50", "181"]))
    """

    _connections: Loop
    _kind = Loop

    async def close(self) -> None:
        """Closes the connections; the client cannot be used afterwards."""
        await self._connections.close()

    async def __aenter__(self) -> "AsyncRecommenderClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
