"""aiokafka's group coordinator, except for two ways in which it leaves a worker alive and idle for ever.

- A broker that has just come back answers metadata requests before it knows its topics. A leader that assigns then
  gives every member nothing, and the group stays so until metadata is refreshed, up to five minutes later. Ours waits.
- An error it cannot deal with (another process has this member's name, the broker answers with an unknown error) is
  kept for whoever fetches next; a worker without partitions does not fetch. Ours tells the process, which restarts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiokafka.consumer import consumer
from aiokafka.consumer.group_coordinator import GroupCoordinator


class PatientCoordinator(GroupCoordinator):  # type: ignore[misc]  # aiokafka is untyped
    """Assigns what it knows of; fails aloud. tests/streams/test_faust_contract.py guards the internals it relies on."""

    on_error: Callable[[Exception], None]

    async def _perform_assignment(self, response: Any) -> Any:
        for topic in self._subscription.topics:
            await self._client._wait_on_metadata(topic)  # noqa: SLF001  # the only place that waits for it
        return await super()._perform_assignment(response)

    async def _coordination_routine(self) -> None:
        try:
            await super()._coordination_routine()
        except Exception as error:
            self.on_error(error)
            raise

    def _push_error_to_user(self, exc: Exception) -> Any:
        self.on_error(exc)
        return super()._push_error_to_user(exc)


def coordinate_patiently(on_error: Callable[[Exception], None]) -> None:
    """Let every consumer of this process use our coordinator. `on_error` is called from the consumer's thread."""
    consumer.GroupCoordinator = type("Coordinator", (PatientCoordinator,), {"on_error": staticmethod(on_error)})
