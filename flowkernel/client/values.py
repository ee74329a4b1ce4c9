"""Small values of the client: what is returned, and how options are read."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, cast

from flowkernel.common import TypedSearchAttributes
from flowkernel.converter import DataConverter, decode_typed_search_attributes
from flowkernel.durations import InvalidDurationError, duration
from flowkernel.model.events import Event
from flowkernel.model.ids import SECOND, Duration, Instant
from flowkernel.model.policies import WorkflowExecutionStatus
from flowkernel.model.records import Record
from flowkernel.model.requests import DescribeWorkflowExecutionResponse, ExecutionInfo
from flowkernel.replay import WorkflowDefinition
from flowkernel.replay.options import TimeSpan


class Unset(enum.Enum):
    """Type of `UNSET`."""

    UNSET = enum.auto()


UNSET: Literal[Unset.UNSET] = Unset.UNSET
"""No argument given; None is a value."""


def arguments(arg: Any, args: Sequence[Any]) -> list[Any]:
    """One argument or several as a list.

    Raises:
        ValueError: both are given.
        TypeError: ``args`` is a text.
    """
    if isinstance(args, str | bytes | Mapping) or not isinstance(cast(object, args), Sequence):
        raise TypeError(f"args={args!r}: args is a list of arguments; give one argument as arg")
    if arg is UNSET:
        return list(args)
    if args:
        raise ValueError("give one argument as arg, or several as args, not both")
    return [arg]


def nanoseconds(span: TimeSpan | None, option: str) -> Duration:
    """A length of time as the service takes it; 0 for None.

    Raises:
        InvalidDurationError: it cannot be read; it names the option.
    """
    try:
        return 0 if span is None else duration(span)
    except InvalidDurationError as error:
        raise error.named(option) from None


def require_texts(what: str, **options: object) -> None:
    """Refuse options that are no text.

    Raises:
        TypeError: one is not.
    """
    for name, value in options.items():
        if not isinstance(value, str):
            raise TypeError(f"{what}: {name} is {value!r}, but must be a text")


def result_type_of(workflow: Any) -> Any:
    """What the code says its result is; None if it says nothing, or the workflow is a name."""
    return None if isinstance(workflow, str) else WorkflowDefinition.of(workflow).ret_type


def run_of(workflow: Any) -> Callable[..., Any] | None:
    """The function that takes the workflow's arguments; None if the workflow is a name."""
    return None if isinstance(workflow, str) else WorkflowDefinition.of(workflow).run


def to_datetime(instant: Instant) -> datetime | None:
    """An instant as UTC datetime, microseconds at best; None for 0."""
    return datetime.fromtimestamp(instant / SECOND, UTC) if instant else None


class WorkflowExecution:
    """One run in a list.

    Attributes:
        id: the workflow id.
        raw: the row as the service gave it.
    """

    def __init__(self, raw: ExecutionInfo, converter: DataConverter) -> None:
        self.raw = raw
        self._converter = converter
        self.id: str = raw.run.workflow_id
        self.run_id: str = raw.run.run_id
        self.namespace = raw.run.namespace
        self.workflow_type = raw.workflow_type
        self.task_queue = raw.task_queue
        self.status: WorkflowExecutionStatus | None = raw.status
        self.start_time = to_datetime(raw.start_time)
        self.close_time = to_datetime(raw.close_time)
        self.history_length = raw.history_length

    async def memo(self) -> Mapping[str, Any]:
        """The values given at the start."""
        return {key: (await self._converter.decode([value]))[0] for key, value in self.raw.memo.items()}

    @property
    def typed_search_attributes(self) -> TypedSearchAttributes:
        """For finding it."""
        return decode_typed_search_attributes(self.raw.search_attributes)

    def __repr__(self) -> str:
        status = self.status.name if self.status else "?"
        return f"<WorkflowExecution {self.id} ({self.run_id}) {self.workflow_type} {status}>"


class WorkflowExecutionDescription(WorkflowExecution):
    """A run as it is now.

    Attributes:
        raw_description: everything that the service said: pending activities, timers, the workflow task.
    """

    def __init__(self, raw: DescribeWorkflowExecutionResponse, converter: DataConverter) -> None:
        info = ExecutionInfo(
            raw.run,
            raw.started.workflow_type,
            raw.started.task_queue,
            raw.status,
            raw.start_time,
            raw.close_time,
            raw.history_length,
            raw.started.memo,
            raw.started.search_attributes,
        )
        super().__init__(info, converter)
        self.raw_description = raw

    async def static_summary(self) -> str | None:
        """One line for people, given at the start."""
        metadata = self.raw_description.user_metadata
        return (await self._converter.decode([metadata.summary]))[0] if metadata and metadata.summary else None

    async def static_details(self) -> str | None:
        """More for people, given at the start."""
        metadata = self.raw_description.user_metadata
        return (await self._converter.decode([metadata.details]))[0] if metadata and metadata.details else None


class WorkflowHistory:
    """A run's events, in order.

    Attributes:
        records: what happened beside them: attempts, heartbeats, output. Empty unless asked for.
    """

    def __init__(self, workflow_id: str, run_id: str, events: Sequence[Event], records: Sequence[Record] = ()) -> None:
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.events = tuple(events)
        self.records = tuple(records)

    def __repr__(self) -> str:
        return f"<WorkflowHistory {self.workflow_id} ({self.run_id}), {len(self.events)} events>"
