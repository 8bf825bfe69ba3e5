"""Metrics and log lines of committed decisions."""

from __future__ import annotations

import time
from collections.abc import Sequence

import structlog

from streams import metrics
from streams.core.push.decide import Decided
from workers.push.inputs import Inputs

_LOG = structlog.get_logger("driftline.push")


def count(partition: int, inputs: Inputs, decisions: Sequence[Decided]) -> None:
    """Call it once, after the commit of the transaction that holds them."""
    for decision in decisions:
        entry = decision.entry
        reason = "" if entry.reason is None else entry.reason.value
        if entry.action is not None:
            metrics.PUSH_FEEDBACK.labels(entry.action).inc()
        metrics.PUSH_DECISIONS.labels(entry.kind, reason).inc()
        log = _LOG.debug if entry.kind == "held" else _LOG.info  # the journal has them all
        log("decided", partition=partition, outcome=entry.kind, reason=reason, source=str(entry.source))
    for refused in inputs.refused:
        metrics.REJECTS.labels("push", refused.rejection.reason).inc()
    if inputs.changes:
        metrics.PUSH_LAG.labels(str(partition)).set(max(0.0, time.time() - inputs.changes[-1].timestamp_ms / 1000))
    sent = {str(decision.entry.source) for decision in decisions if decision.entry.kind == "sent"}
    for change in inputs.changes:
        if str(change.source) in sent:
            metrics.EVENT_TO_NOTIFICATION.observe(max(0.0, time.time() - change.timestamp_ms / 1000))
