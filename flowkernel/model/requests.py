"""Requests: what clients and workers ask of a service, and what it answers. Temporal's WorkflowService, in our types."""

from __future__ import annotations

from typing import Any, Generic, TypeAlias

import msgspec
from typing_extensions import TypeVar

from flowkernel.model.commands import Command
from flowkernel.model.events import Event, UserMetadata, WorkflowExecutionStarted
from flowkernel.model.execution import PendingActivity, PendingTimer, PendingWorkflowTask
from flowkernel.model.failures import Failure
from flowkernel.model.ids import SECOND, Duration, EventId, Instant, RunId, RunRef, WorkflowId
from flowkernel.model.payloads import Header, Payload, Payloads
from flowkernel.model.policies import (
    Priority,
    QueryRejectCondition,
    RetryPolicy,
    WorkflowExecutionStatus,
    WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy,
    WorkflowTaskFailedCause,
)
from flowkernel.model.records import Record
from flowkernel.model.tasks import ActivityTask, TaskToken, WorkflowTask

R = TypeVar("R", default=Any)


class Request(msgspec.Struct, Generic[R], frozen=True, gc=False):
    """A request whose answer is an `R`."""


# --- clients --------------------------------------------------------------------------------------------------------


class StartWorkflowExecutionResponse(msgspec.Struct, frozen=True, gc=False):
    """Which run it is, and whether this request began it (False: the request id or a conflict policy led to it)."""

    run_id: RunId
    started: bool


class StartWorkflowExecution(Request[StartWorkflowExecutionResponse], frozen=True, gc=False):
    """Start an execution.

    Raises:
        ExecutionAlreadyStarted: id policies forbid it.
        InvalidRequest: a field breaks a rule.
    """

    namespace: str
    workflow_id: WorkflowId
    workflow_type: str
    task_queue: str
    input: Payloads = ()
    request_id: str = ""
    identity: str = ""
    execution_timeout: Duration = 0
    run_timeout: Duration = 0
    task_timeout: Duration = 10 * SECOND
    id_reuse_policy: WorkflowIdReusePolicy = WorkflowIdReusePolicy.ALLOW_DUPLICATE
    id_conflict_policy: WorkflowIdConflictPolicy = WorkflowIdConflictPolicy.UNSPECIFIED
    retry_policy: RetryPolicy | None = None
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    header: Header = {}
    user_metadata: UserMetadata | None = None
    priority: Priority = Priority()


class SignalWorkflowExecution(Request[None], frozen=True, gc=False):
    """Send a signal to an open run (the latest if ``run_id`` is empty).

    Raises:
        ExecutionNotFound: no such run, or it is closed.
    """

    namespace: str
    workflow_id: WorkflowId
    signal_name: str
    input: Payloads = ()
    run_id: RunId = RunId("")
    request_id: str = ""
    identity: str = ""
    header: Header = {}


class RequestCancelWorkflowExecution(Request[None], frozen=True, gc=False):
    """Ask an open run to cancel itself. Asking again is no error.

    Raises:
        ExecutionNotFound: no such run, it is closed, or it is not of the chain ``first_execution_run_id``.
    """

    namespace: str
    workflow_id: WorkflowId
    run_id: RunId = RunId("")
    first_execution_run_id: RunId = RunId("")
    reason: str = ""
    request_id: str = ""
    identity: str = ""


class TerminateWorkflowExecution(Request[None], frozen=True, gc=False):
    """End an open run at once. Errors as for `RequestCancelWorkflowExecution`."""

    namespace: str
    workflow_id: WorkflowId
    run_id: RunId = RunId("")
    first_execution_run_id: RunId = RunId("")
    reason: str = ""
    details: Payloads = ()
    identity: str = ""


class QueryWorkflowResponse(msgspec.Struct, frozen=True, gc=False):
    """The answer, or the status because of which the query was rejected."""

    result: Payloads = ()
    rejected: WorkflowExecutionStatus | None = None


class QueryWorkflow(Request[QueryWorkflowResponse], frozen=True, gc=False):
    """Ask the workflow's code; nothing is written.

    Raises:
        QueryFailed: the handler raised, or there is none.
        ExecutionNotFound: no such run.
        RPCError: DEADLINE_EXCEEDED without a worker; FAILED_PRECONDITION while the code is failing.
    """

    namespace: str
    workflow_id: WorkflowId
    query_type: str
    args: Payloads = ()
    run_id: RunId = RunId("")
    header: Header = {}
    reject_condition: QueryRejectCondition = QueryRejectCondition.NONE
    timeout: Duration = 10 * SECOND


class DescribeWorkflowExecutionResponse(msgspec.Struct, frozen=True, gc=False):
    """A run now: how it started, where it stands, what is pending."""

    run: RunRef
    started: WorkflowExecutionStarted
    status: WorkflowExecutionStatus
    start_time: Instant
    close_time: Instant
    history_length: int
    workflow_task: PendingWorkflowTask
    pending_activities: tuple[PendingActivity, ...] = ()
    pending_timers: tuple[PendingTimer, ...] = ()
    cancel_requested: bool = False
    user_metadata: UserMetadata | None = None
    has_worker: bool = False


class DescribeWorkflowExecution(Request[DescribeWorkflowExecutionResponse], frozen=True, gc=False):
    """Describe a run (the latest if ``run_id`` is empty).

    Raises:
        ExecutionNotFound: no such run.
    """

    namespace: str
    workflow_id: WorkflowId
    run_id: RunId = RunId("")


class GetWorkflowExecutionHistoryResponse(msgspec.Struct, frozen=True, gc=False):
    """Committed events and the records beside them, in order. ``run`` says which run was meant."""

    run: RunRef
    events: tuple[Event, ...]
    records: tuple[Record, ...] = ()


class GetWorkflowExecutionHistory(Request[GetWorkflowExecutionHistoryResponse], frozen=True, gc=False):
    """Read events after ``after_event_id``.

    With ``wait_new_event`` the answer waits until there is one; with ``close_event_only`` it is the run's last event alone, and
    with both it waits for the run to close (a long poll for the result).

    Raises:
        ExecutionNotFound: no such run.
    """

    namespace: str
    workflow_id: WorkflowId
    run_id: RunId = RunId("")
    after_event_id: EventId = 0
    wait_new_event: bool = False
    close_event_only: bool = False
    with_records: bool = False


class ExecutionInfo(msgspec.Struct, frozen=True, gc=False):
    """One row of a list of executions."""

    run: RunRef
    workflow_type: str
    task_queue: str
    status: WorkflowExecutionStatus
    start_time: Instant
    close_time: Instant
    history_length: int
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}


class ListWorkflowExecutionsResponse(msgspec.Struct, frozen=True, gc=False):
    """Executions, latest start first."""

    executions: tuple[ExecutionInfo, ...]


class ListWorkflowExecutions(Request[ListWorkflowExecutionsResponse], frozen=True, gc=False):
    """List the runs of a namespace.

    ``status`` and ``workflow_type`` narrow the list; None means any. ``query`` is Temporal's list filter.
    """

    namespace: str
    query: str = ""
    status: WorkflowExecutionStatus | None = None
    workflow_type: str | None = None
    workflow_id: WorkflowId | None = None
    limit: int = 1000


# --- workers --------------------------------------------------------------------------------------------------------


class PollWorkflowTasks(Request[tuple[WorkflowTask, ...]], frozen=True, gc=False):
    """Wait for workflow tasks; answered with 1 to ``max_tasks`` of them, or none when the worker is unregistered.

    ``workflow_types`` None takes any type (Temporal's way: an unknown one fails the task); a set takes only those, and
    others wait until somebody can run them (the notebook's way). The set of a worker's latest poll counts for its earlier
    ones too; ``max_tasks`` 0 only changes the set, and is answered with none at once.
    """

    namespace: str
    task_queue: str
    worker_id: str
    max_tasks: int = 1
    identity: str = ""
    workflow_types: frozenset[str] | None = None


class PollActivityTasks(Request[tuple[ActivityTask, ...]], frozen=True, gc=False):
    """Wait for activity tasks; as `PollWorkflowTasks`. An attempt is durable before it is handed out."""

    namespace: str
    task_queue: str
    worker_id: str
    max_tasks: int = 1
    identity: str = ""
    activity_types: frozenset[str] | None = None


class RespondWorkflowTaskCompleted(Request[None], frozen=True, gc=False):
    """The code ran; these are its commands.

    ``cached`` says that the worker keeps the run, so the next task may bring only what is new.

    Raises:
        ExecutionNotFound: the token is outdated; drop the run from the cache.
    """

    token: TaskToken
    commands: tuple[Command, ...]
    worker_id: str
    cached: bool = True
    definition: str = ""


class RespondWorkflowTaskFailed(Request[None], frozen=True, gc=False):
    """The code could not be run. The worker has dropped the run from its cache. Errors as above."""

    token: TaskToken
    cause: WorkflowTaskFailedCause
    failure: Failure
    worker_id: str = ""


class RespondQueryTaskCompleted(Request[None], frozen=True, gc=False):
    """Answer to a task with a query: a result, or why it failed."""

    query_id: str
    result: Payloads = ()
    error: str | None = None
    failure: Failure | None = None


class ActivityAddress(msgspec.Struct, frozen=True, gc=False):
    """An activity by name, for completion from outside: the latest run if ``run_id`` is empty."""

    namespace: str
    workflow_id: WorkflowId
    run_id: RunId
    activity_id: str


ActivityTarget: TypeAlias = TaskToken | ActivityAddress


class Output(msgspec.Struct, frozen=True, gc=False):
    """A piece of captured text. ``stream`` is ``stdout``, ``stderr`` or ``log``."""

    time: Instant
    stream: str
    text: str


class RespondActivityTaskCompleted(Request[None], frozen=True, gc=False):
    """The activity returned.

    Raises:
        ExecutionNotFound: the attempt is no longer wanted (timed out, cancelled, run closed).
    """

    target: ActivityTarget
    result: Payloads = ()
    identity: str = ""
    output: tuple[Output, ...] = ()


class RespondActivityTaskFailed(Request[None], frozen=True, gc=False):
    """The attempt failed; the retry policy decides what follows. Errors as above."""

    target: ActivityTarget
    failure: Failure
    identity: str = ""
    last_heartbeat_details: Payloads = ()
    output: tuple[Output, ...] = ()


class RespondActivityTaskCanceled(Request[None], frozen=True, gc=False):
    """The activity gave in to a requested cancellation. Errors as above, and InvalidRequest when none was requested."""

    target: ActivityTarget
    details: Payloads = ()
    identity: str = ""
    output: tuple[Output, ...] = ()


class RecordActivityTaskHeartbeatResponse(msgspec.Struct, frozen=True, gc=False):
    """What the attempt should know."""

    cancel_requested: bool = False


class RecordActivityTaskHeartbeat(Request[RecordActivityTaskHeartbeatResponse], frozen=True, gc=False):
    """The attempt is alive. Errors as for `RespondActivityTaskCompleted`."""

    target: ActivityTarget
    details: Payloads = ()
    identity: str = ""
    output: tuple[Output, ...] = ()


class RecordActivityTaskOutput(Request[None], frozen=True, gc=False):
    """Text that a long attempt printed so far. Says nothing about being alive; errors as above."""

    target: ActivityTarget
    output: tuple[Output, ...]


class ReleaseActivityTask(Request[None], frozen=True, gc=False):
    """The attempt will be completed by somebody else (``raise_complete_async``); do not retry it when the worker goes."""

    target: ActivityTarget
    output: tuple[Output, ...] = ()


class WakeWorkflowTasks(Request[int], frozen=True, gc=False):
    """Offer backed-off workflow tasks of these types again at once: their code has changed. Answers how many."""

    namespace: str
    task_queue: str
    workflow_types: frozenset[str]


class UnregisterWorker(Request[None], frozen=True, gc=False):
    """The worker takes no more tasks: its polls are answered with none, tasks it holds are offered to others.

    Workflow tasks go back at once. Its activity attempts count as lost, and are retried, when ``lost`` is set.
    """

    worker_id: str
    lost: bool = False


class QueryFailed(Exception):
    """The workflow's code could not answer a query; ``failure`` holds the details."""

    def __init__(self, message: str, failure: Failure | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.failure = failure
