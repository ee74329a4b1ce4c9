"""Activities as workflow code sees them: a handle to await, a command that asks for it, the outcome that the history brings."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from flowkernel.converter.naming import arguments_of, to_payloads
from flowkernel.model.commands import RequestCancelActivityTask, ScheduleActivityTask
from flowkernel.model.events import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskTimedOut,
    UserMetadata,
)
from flowkernel.model.failures import ActivityFailure, CanceledFailure, Failure, RetryState
from flowkernel.model.ids import EventId
from flowkernel.model.policies import Priority
from flowkernel.replay.definitions import ActivityDefinition
from flowkernel.replay.loop import OrderedTask
from flowkernel.replay.options import ActivityCancellationType, ActivityOptions

if TYPE_CHECKING:
    from flowkernel.replay.runtime import WorkflowRuntime

T = TypeVar("T")

ActivityOutcome = ActivityTaskCompleted | ActivityTaskFailed | ActivityTaskTimedOut | ActivityTaskCanceled
"""The events that end an activity."""


class ActivityHandle(OrderedTask[T]):
    """An activity that was asked for: a task, so it can be awaited, gathered and cancelled.

    Cancelling means what the activity's ``cancellation_type`` says.
    """

    def __init__(
        self, activities: Activities, activity_id: str, activity_type: str, cancellation: ActivityCancellationType, ret_type: Any
    ) -> None:
        loop = activities.runtime.loop
        self._activities = activities
        self._cancellation = cancellation
        self._cancel_requested = False
        self._running = False
        self.activity_id = activity_id
        self.activity_type = activity_type
        self.ret_type = ret_type
        self.outcome: asyncio.Future[Any] = loop.create_future()
        self.slot = -1
        self.scheduled_event_id: EventId = 0
        self.ended = False
        super().__init__(self._wait(), loop, activity_type)

    async def _wait(self) -> Any:
        # The outcome is awaited through a future of its own: cancelling this task must not cancel the outcome, which the
        # cancellation type decides about. asyncio.shield would complain about outcomes that come after a cancellation.
        self._running = True
        outcome = self.outcome
        while True:
            waiter: asyncio.Future[None] = self._activities.runtime.loop.create_future()
            wake = partial(_wake, waiter)
            outcome.add_done_callback(wake)
            try:
                await waiter
            except asyncio.CancelledError:
                if outcome.done():
                    raise  # the outcome is known already: the cancellation is for whoever awaits it
                self._request_cancel()
                self.uncancel()
            else:
                return outcome.result()
            finally:
                outcome.remove_done_callback(wake)

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the activity as its ``cancellation_type`` says.

        Raises:
            ReadOnlyContextError: in a query handler.
        """
        outbox = self._activities.runtime.loop.outbox
        if not outbox.evicting:
            outbox.check("cancel an activity")
            if not self._running and not self.done():  # then nothing in `_wait` will notice
                self._request_cancel()
        return super().cancel(msg)

    def _request_cancel(self) -> None:
        activities = self._activities
        outbox = activities.runtime.loop.outbox
        outbox.check("cancel an activity")
        if self._cancel_requested or self.ended:
            return
        self._cancel_requested = True
        if not self.scheduled_event_id:
            outbox.retract(self.slot)
            activities.withdraw(self)
        elif self._cancellation is not ActivityCancellationType.ABANDON:
            outbox.add(RequestCancelActivityTask(self.scheduled_event_id))
            if self._cancellation is ActivityCancellationType.WAIT_CANCELLATION_COMPLETED:
                return
        activities.cancelled_here.append(self)

    def fail(self, error: BaseException) -> None:
        """Set the outcome to an error; nobody has to look at it."""
        if self._running and not self.outcome.done():
            self.outcome.set_exception(error)
            self.outcome.exception()


def _wake(waiter: asyncio.Future[None], outcome: asyncio.Future[Any]) -> None:  # noqa: ARG001 - asyncio passes it
    if not waiter.done():
        waiter.set_result(None)


class Activities:
    """The activities of one run. Ids are 1, 2, 3, … in the order in which the code asks, unless it names its own."""

    __slots__ = ("_count", "_recorded", "_unrecorded", "cancelled_here", "runtime")

    def __init__(self, runtime: WorkflowRuntime) -> None:
        self.runtime = runtime
        self.cancelled_here: list[ActivityHandle[Any]] = []
        """Cancelled without the history having a say: they raise once nothing else is ready."""
        self._count = 0
        self._unrecorded: dict[str, ActivityHandle[Any]] = {}
        self._recorded: dict[EventId, ActivityHandle[Any]] = {}

    def start(self, activity: object, args: Sequence[Any], options: ActivityOptions) -> ActivityHandle[Any]:
        """Ask for an activity.

        Args:
            activity: its name, a decorated function or its definition.
            args: its arguments.
            options: how to run it; what they leave open comes from the definition.
        Raises:
            ValueError: neither ``start_to_close_timeout`` nor ``schedule_to_close_timeout`` is given.
            TypeError: not an activity, or an argument that cannot be converted.
            ReadOnlyContextError: in a query handler.
        """
        runtime = self.runtime
        outbox = runtime.loop.outbox
        outbox.check("start an activity")
        ret_type = options.result_type
        if isinstance(activity, str):
            name, fn = activity, None
        else:
            definition = activity if isinstance(activity, ActivityDefinition) else ActivityDefinition.of(activity)
            name = ActivityDefinition.name_of(activity) if definition.name is None else definition.name
            fn = definition.fn
            options = options.over(definition.options)
            ret_type = definition.ret_type if ret_type is None else ret_type
        if not options.start_to_close_timeout and not options.schedule_to_close_timeout:
            raise ValueError(
                f"activity {name!r} has no time limit: give start_to_close_timeout or schedule_to_close_timeout, "
                f'for example start_to_close_timeout="30s", here or in its @activity.defn(...)'
            )
        converter = runtime.converter.payload_converter
        payloads = tuple(to_payloads(converter, args, arguments_of(f"activity {name!r}", fn))) if args else ()
        metadata = UserMetadata(summary=converter.to_payload(options.summary)) if options.summary else None
        self._count += 1
        activity_id = options.activity_id or str(self._count)
        handle: ActivityHandle[Any] = ActivityHandle(
            self, activity_id, name, options.cancellation_type or ActivityCancellationType.TRY_CANCEL, ret_type
        )
        handle.slot = outbox.add(
            ScheduleActivityTask(
                activity_id,
                name,
                options.task_queue or runtime.task_queue,
                payloads,
                options.schedule_to_close_timeout or 0,
                options.schedule_to_start_timeout or 0,
                options.start_to_close_timeout or 0,
                options.heartbeat_timeout or 0,
                options.retry_policy,
                {},
                options.priority or _NO_PRIORITY,
                metadata,
            )
        )
        self._unrecorded[activity_id] = handle
        return handle

    def withdraw(self, handle: ActivityHandle[Any]) -> None:
        """Forget an activity whose command was taken back."""
        self._unrecorded.pop(handle.activity_id, None)

    def recorded(self, activity_id: str, event_id: EventId) -> None:
        """The history holds the activity's scheduling."""
        handle = self._unrecorded.pop(activity_id, None)
        if handle is not None:
            handle.scheduled_event_id = event_id
            self._recorded[event_id] = handle

    def ended(self, attributes: ActivityOutcome) -> ActivityHandle[Any] | None:
        """The history says how the activity ended; cancelling is too late now. None when the code does not care any more."""
        handle = self._recorded.pop(attributes.scheduled_event_id, None)
        if handle is None:
            return None
        handle.ended = True
        return handle

    def resolve(self, handle: ActivityHandle[Any], attributes: ActivityOutcome) -> None:
        """Give the handle its outcome.

        Raises:
            RuntimeError: the result cannot be read as the type that the code expects.
        """
        if handle.outcome.done():
            return
        if isinstance(attributes, ActivityTaskCompleted):
            types = [handle.ret_type] if handle.ret_type is not None else None
            values = self.runtime.decode(attributes.result, types)
            handle.outcome.set_result(values[0] if values else None)
            return
        if isinstance(attributes, ActivityTaskCanceled):
            cause = Failure("Cancelled", CanceledFailure(attributes.details))
            failure = self._failure(handle, "Activity cancelled", RetryState.CANCEL_REQUESTED, cause, attributes)
        else:
            message = "Activity task failed" if isinstance(attributes, ActivityTaskFailed) else "Activity task timed out"
            failure = self._failure(handle, message, attributes.retry_state, attributes.failure, attributes)
        handle.fail(self.runtime.error_of(failure))

    def resolve_cancelled(self) -> None:
        """Let the activities that were cancelled without the history's say raise where they are awaited."""
        handles, self.cancelled_here = self.cancelled_here, []
        for handle in handles:
            cause = Failure("Cancelled", CanceledFailure())
            failure = self._failure(handle, "Activity cancelled", RetryState.CANCEL_REQUESTED, cause, None)
            handle.fail(self.runtime.error_of(failure))

    @staticmethod
    def _failure(
        handle: ActivityHandle[Any], message: str, retry_state: RetryState, cause: Failure, attributes: ActivityOutcome | None
    ) -> Failure:
        started_event_id = attributes.started_event_id if attributes is not None else 0
        identity = getattr(attributes, "identity", "")
        info = ActivityFailure(
            handle.scheduled_event_id, started_event_id, identity, handle.activity_type, handle.activity_id, retry_state
        )
        return Failure(message, info, cause)


_NO_PRIORITY = Priority()
