"""aiokafka's group coordinator, except that a leader never hands out partitions it has not been told of.

A broker that has just come back answers metadata requests before it knows its topics. A leader that assigns then gives
every member nothing, and the group stays so until the next refresh of metadata, up to five minutes later.
"""

from __future__ import annotations

from typing import Any

from aiokafka.consumer import consumer
from aiokafka.consumer.group_coordinator import GroupCoordinator


class PatientCoordinator(GroupCoordinator):  # type: ignore[misc]  # aiokafka is untyped
    """Waits for the partitions of every topic of the group before it assigns them."""

    async def _perform_assignment(self, response: Any) -> Any:
        for topic in self._subscription.topics:
            await self._client._wait_on_metadata(topic)  # noqa: SLF001  # guarded by tests/streams/test_faust_contract.py
        return await super()._perform_assignment(response)


def assign_known_topics_only() -> None:
    """Let every group leader of this process wait for its topics' metadata."""
    consumer.GroupCoordinator = PatientCoordinator
