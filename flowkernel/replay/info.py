"""What a workflow can know about its own run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flowkernel import common
from flowkernel.converter import decode_search_attributes, decode_typed_search_attributes
from flowkernel.durations import to_timedelta
from flowkernel.model.events import WorkflowExecutionStarted
from flowkernel.model.ids import Duration, Instant, RunRef
from flowkernel.model.payloads import Payload
from flowkernel.replay.current import current


@dataclass(frozen=True)
class Info:
    """The running workflow. Made by flowkernel only; fields may be added.

    Attributes:
        attempt: 1, or more when a workflow retry policy started the run again.
        execution_timeout: None for no limit; ``run_timeout`` likewise.
        first_execution_run_id: the first run of the chain to which this one belongs.
        headers: what interceptors passed along.
        raw_memo: memo values as payloads; `flowkernel.workflow.memo` converts them.
        retry_policy: of the workflow itself; None for no retries.
        start_time: when its code first ran, UTC.
        workflow_start_time: when the run was started, UTC.
    """

    attempt: int
    execution_timeout: timedelta | None
    first_execution_run_id: str
    headers: Mapping[str, Payload]
    namespace: str
    original_execution_run_id: str
    priority: common.Priority
    raw_memo: Mapping[str, Payload]
    retry_policy: common.RetryPolicy | None
    run_id: str
    run_timeout: timedelta | None
    search_attributes: common.SearchAttributes
    start_time: datetime
    task_queue: str
    task_timeout: timedelta
    typed_search_attributes: common.TypedSearchAttributes
    workflow_id: str
    workflow_start_time: datetime
    workflow_type: str

    def get_current_history_length(self) -> int:
        """Events up to the present workflow task: 3 in the first one."""
        return current().history_length

    def get_current_history_size(self) -> int:
        """Bytes of the history up to the present workflow task, as the service counts them."""
        return current().history_size

    def is_continue_as_new_suggested(self) -> bool:
        """Whether the service finds the history long enough to continue in a new run."""
        return current().continue_as_new_suggested

    def details(self) -> dict[str, Any]:
        """What log records carry."""
        return {
            "attempt": self.attempt,
            "namespace": self.namespace,
            "run_id": self.run_id,
            "task_queue": self.task_queue,
            "workflow_id": self.workflow_id,
            "workflow_type": self.workflow_type,
        }


def utc(instant: Instant) -> datetime:
    """An instant as a datetime, cut to microseconds."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=instant // 1000)


def _limit(value: Duration) -> timedelta | None:
    return to_timedelta(value) if value else None


def make_info(run: RunRef, started: WorkflowExecutionStarted, start_time: Instant, workflow_start_time: Instant) -> Info:
    """Read the run's first event."""
    return Info(
        attempt=started.attempt,
        execution_timeout=_limit(started.execution_timeout),
        first_execution_run_id=started.first_execution_run_id or run.run_id,
        headers=started.header,
        namespace=run.namespace,
        original_execution_run_id=started.original_execution_run_id or run.run_id,
        priority=common.Priority.from_model(started.priority),
        raw_memo=started.memo,
        retry_policy=common.RetryPolicy.from_model(started.retry_policy) if started.retry_policy is not None else None,
        run_id=run.run_id,
        run_timeout=_limit(started.run_timeout),
        search_attributes=decode_search_attributes(started.search_attributes),
        start_time=utc(start_time),
        task_queue=started.task_queue,
        task_timeout=to_timedelta(started.task_timeout),
        typed_search_attributes=decode_typed_search_attributes(started.search_attributes),
        workflow_id=run.workflow_id,
        workflow_start_time=utc(workflow_start_time),
        workflow_type=started.workflow_type,
    )
