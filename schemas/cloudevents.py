"""CloudEvents 1.0 in Kafka's binary mode: the envelope of output topics travels as record headers.

CloudEvents, Kafka protocol binding 1.0.2, section 3.2: attributes are headers with the prefix `ce_`, values UTF-8.
"""

from __future__ import annotations

from typing import Final

Headers = list[tuple[str, bytes]]

SOURCE: Final = "/driftline"


def cloudevents_headers(*, id: str, type: str, subject: str, time: str, source: str = SOURCE) -> Headers:  # noqa: A002
    """The headers of one event; `id` together with `source` is what a consumer dedupes on.

    id       unique within the source; the same when an event is written again
    type     reverse-DNS with the breaking version: `io.driftline.notification.v1`
    subject  what the event is about: the user id
    time     RFC 3339 (schemas.times.rfc3339): when it happened
    source   URI reference of who writes: "/driftline", or one below it

    >>> cloudevents_headers(id="n1", type="io.driftline.notification.v1", subject="u1", time="2026-03-01T11:00:00Z")[1]
    ('ce_id', b'n1')
    """
    attributes = (
        ("ce_specversion", "1.0"),
        ("ce_id", id),
        ("ce_source", source),
        ("ce_type", type),
        ("ce_time", time),
        ("ce_subject", subject),
        ("content-type", "application/json"),
    )
    return [(name, value.encode()) for name, value in attributes]
