"""The yardstick: the same recommender the way every Faust tutorial writes it. One event, two trips to Redis.

It keeps most of what Driftline keeps (sessions, co-occurrence both ways, degrees, category affinity, duplicates) and is
written with care: redis.asyncio with hiredis, one pipeline to read and one to write, no needless command. It promises
much less:

- not exactly once: a crash between the two pipelines loses the event, whose id is marked as seen already; a crash in
  the second one leaves half of it; what Faust delivers again after a crash is only caught while the mark lives;
- a malformed event stops the agent; no dead-letter topic, no check of keys, times or content;
- no decay, no bound on an item's neighbours, no tiers, no interest changes, no similarity views;
- nothing notices that Redis lost its tail, that a topic was created again, or that another worker still writes.

    TUTORIAL_KAFKA=host:port TUTORIAL_REDIS=redis://… TUTORIAL_TOPIC=… python -m benchmarks.tutorial worker -l warn
"""

from __future__ import annotations

import os
from typing import Any

import faust
import redis.asyncio as redis

NEIGHBOURS = 5
SESSION_S = 1800
SEEN_S = 86_400
WEIGHTS = {"view": 1.0, "favourite": 3.0, "cart": 5.0, "purchase": 8.0}


class Event(faust.Record, serializer="json"):
    """A behaviour event, decoded by Faust."""

    event_id: str
    user_id: str
    type: str
    item_id: str
    category: str


app = faust.App(
    "tutorial." + os.environ.get("TUTORIAL_TOPIC", "behaviour-events.v1"),
    broker=f"kafka://{os.environ.get('TUTORIAL_KAFKA', '127.0.0.1:9092')}",
    web_port=int(os.environ.get("TUTORIAL_WEB_PORT", "6066")),
)
events = app.topic(os.environ.get("TUTORIAL_TOPIC", "behaviour-events.v1"), value_type=Event)
store: redis.Redis = redis.from_url(os.environ.get("TUTORIAL_REDIS", "redis://127.0.0.1"), decode_responses=True)


@app.agent(events)
async def recommend(stream: faust.StreamT[Event]) -> None:
    """Count every event once, as long as nothing goes wrong."""
    async for event in stream:
        session = f"tutorial:session:{event.user_id}"
        async with store.pipeline(transaction=False) as read:
            read.set(f"tutorial:seen:{event.event_id}", 1, nx=True, ex=SEEN_S)
            read.lrange(session, -NEIGHBOURS, -1)
            new, nearest = await read.execute()
        if new:
            await count(event, session, nearest)


async def count(event: Event, session: str, nearest: list[str]) -> Any:
    """Everything one event changes, in one pipeline."""
    async with store.pipeline(transaction=False) as write:
        for other in nearest:
            write.zincrby(f"tutorial:neighbours:{event.item_id}", 1, other)
            write.zincrby(f"tutorial:neighbours:{other}", 1, event.item_id)
        write.hincrby("tutorial:degree", event.item_id, 1)
        write.hincrbyfloat(f"tutorial:affinity:{event.user_id}", event.category, WEIGHTS.get(event.type, 1.0))
        write.rpush(session, event.item_id)
        write.expire(session, SESSION_S)
        return await write.execute()


if __name__ == "__main__":
    app.main()
