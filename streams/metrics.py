"""Every metric Driftline exports, once. Base units, few labels, never a user or item id."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)
SIZE_BUCKETS = (1, 10, 50, 100, 250, 500, 1000, 2000, 5000, 10_000)

RECORDS = Counter("driftline_records_total", "Input records by stage and outcome", ["stage", "outcome"])
EVENTS = Counter("driftline_events_total", "Accepted behaviour events by type", ["type"])
REJECTS = Counter("driftline_rejects_total", "Refused input records by stage and reason code", ["stage", "reason"])
INTEREST_CHANGES = Counter("driftline_interest_changes_total", "Interest changes emitted by kind", ["kind"])

LAG_RECORDS = Gauge("driftline_input_lag_records", "Records between watermark and log end", ["stage", "partition"])
LAG_SECONDS = Gauge(
    "driftline_input_lag_seconds", "Age of the newest record applied while input waits", ["stage", "partition"]
)
WATERMARK = Gauge("driftline_watermark_offset", "Next offset to apply, as committed to Redis", ["stage", "partition"])

EVENT_TO_STATE = Histogram(
    "driftline_event_to_state_seconds",
    "From a record's Kafka timestamp to its committed state, oldest record of each flush",
    ["stage"],
    buckets=LATENCY_BUCKETS,
)
FLUSH_RECORDS = Histogram("driftline_flush_records", "Records in one flush", ["stage"], buckets=SIZE_BUCKETS)
FLUSH_SECONDS = Histogram(
    "driftline_flush_seconds", "Duration of one step of a flush", ["stage", "step"], buckets=LATENCY_BUCKETS
)
MISMATCHES = Counter(
    "driftline_checkpoint_mismatches_total", "Watermarks that were not where they should be", ["stage", "kind"]
)
STORE_ERRORS = Counter("driftline_store_errors_total", "Calls to Redis that failed and were retried", ["stage"])
CACHED_STATES = Gauge("driftline_cached_states", "States held in memory", ["stage"])

VIEWS_WRITTEN = Counter("driftline_views_written_total", "Views derived and written", ["view"])
VIEWS_PENDING = Gauge("driftline_views_pending", "Keys whose view is older than their state", ["view"])
VIEW_STALENESS = Gauge("driftline_view_staleness_seconds", "Age of the oldest change no view shows yet", ["view"])
EVENT_TO_VIEW = Histogram(
    "driftline_event_to_view_seconds",
    "From the commit of a change to the view that shows it",
    ["view"],
    buckets=LATENCY_BUCKETS,
)

PUSH_DECISIONS = Counter(
    "driftline_push_decisions_total", "Push decisions by outcome and reason", ["outcome", "reason"]
)
EVENT_TO_NOTIFICATION = Histogram(
    "driftline_event_to_notification_seconds",
    "From the Kafka timestamp of the interest change to the committed notification",
    buckets=LATENCY_BUCKETS,
)
PUSH_TRANSACTION = Histogram(
    "driftline_push_transaction_seconds", "Duration of one push transaction", buckets=LATENCY_BUCKETS
)
PUSH_LAG = Gauge("driftline_push_lag_seconds", "Age of the interest change being decided", ["partition"])
PUSH_FEEDBACK = Counter("driftline_push_feedback_total", "Feedback on notifications by action", ["action"])
