"""Completing activities from outside the worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowkernel.api import call
from flowkernel.client.errors import AsyncActivityCancelledError
from flowkernel.client.values import UNSET
from flowkernel.converter.naming import always
from flowkernel.model.requests import (
    ActivityTarget,
    RecordActivityTaskHeartbeat,
    RespondActivityTaskCanceled,
    RespondActivityTaskCompleted,
    RespondActivityTaskFailed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowkernel.client.client import Client
    from flowkernel.model.payloads import Payloads

__all__ = ["AsyncActivityHandle"]


class AsyncActivityHandle:
    """An activity whose function said `flowkernel.activity.raise_complete_async`. Made by `Client.get_async_activity_handle`.

    Every method raises `RPCError` with NOT_FOUND when the activity is no longer wanted.
    """

    def __init__(self, client: Client, target: ActivityTarget) -> None:
        self._client = client
        self._target = target

    async def _encode(self, values: Sequence[Any], what: str = "detail") -> Payloads:
        return await self._client.data_converter.encode_named(values, always(what))

    async def heartbeat(self, *details: Any) -> None:
        """Report that it is alive.

        Raises:
            AsyncActivityCancelledError: the workflow asked it to stop.
        """
        request = RecordActivityTaskHeartbeat(self._target, await self._encode(details), self._client.identity)
        if (await call(self._client.service, request)).cancel_requested:
            raise AsyncActivityCancelledError

    async def complete(self, result: Any = UNSET) -> None:
        """End it with a result. Durable when this returns."""
        payloads = await self._encode([None if result is UNSET else result], "result")
        await call(self._client.service, RespondActivityTaskCompleted(self._target, payloads, self._client.identity))

    async def fail(self, error: Exception, *, last_heartbeat_details: Sequence[Any] = ()) -> None:
        """End the attempt with an error; the retry policy decides what follows. Durable when this returns."""
        failure = await self._client.data_converter.encode_failure(error)
        details = await self._encode(last_heartbeat_details)
        request = RespondActivityTaskFailed(self._target, failure, self._client.identity, details)
        await call(self._client.service, request)

    async def report_cancellation(self, *details: Any) -> None:
        """Say that it has stopped because it was asked to. Durable when this returns."""
        payloads = await self._encode(details)
        await call(self._client.service, RespondActivityTaskCanceled(self._target, payloads, self._client.identity))
