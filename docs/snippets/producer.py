#!/usr/bin/env python3
"""Send a `view` event for every user id given: producer.py u-1001 u-1002."""

import json
import os
import sys
import time
import uuid

from confluent_kafka import KafkaError, Message, Producer


def report(error: KafkaError | None, message: Message) -> None:
    """Called once per event, from poll and flush: with idempotence on, an error here is final."""
    if error is not None:
        print(f"not delivered: {message.key()!r}: {error}", file=sys.stderr)


producer = Producer(
    {
        "bootstrap.servers": os.environ.get("DRIFTLINE_KAFKA", "127.0.0.1:9092"),
        "partitioner": "murmur2_random",  # librdkafka's own default is another hash: the event would be refused
        "enable.idempotence": True,  # retries neither repeat nor reorder
        "acks": "all",
    }
)
topic = f"{os.environ.get('DRIFTLINE_NAMESPACE', 'driftline')}.behaviour-events.v1"
for user_id in sys.argv[1:] or ["u-1001"]:
    event = {
        "event_id": str(uuid.uuid4()),  # made once per event, kept when it is sent again
        "user_id": user_id,
        "type": "view",
        "item_id": "sku-2001",
        "time": time.time_ns() // 1_000_000,  # milliseconds, when it happened
        "category": ["Garden", "Tools"],
    }
    producer.produce(topic, json.dumps(event), key=user_id, on_delivery=report)
if producer.flush(30) > 0:
    sys.exit("not delivered within 30 seconds")
