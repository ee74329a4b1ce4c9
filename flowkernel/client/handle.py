"""A handle on an execution."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from flowkernel import exceptions
from flowkernel.api import call
from flowkernel.client.errors import (
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from flowkernel.client.values import (
    UNSET,
    WorkflowExecutionDescription,
    WorkflowHistory,
    arguments,
    nanoseconds,
)
from flowkernel.common import QueryRejectCondition
from flowkernel.converter.naming import always, arguments_of
from flowkernel.exceptions import CancelledError, TerminatedError, TimeoutType
from flowkernel.model import events as ev
from flowkernel.model.events import Event
from flowkernel.model.ids import SECOND, RunId, WorkflowId
from flowkernel.model.payloads import Payloads
from flowkernel.model.requests import (
    DescribeWorkflowExecution,
    GetWorkflowExecutionHistory,
    QueryFailed,
    QueryWorkflow,
    RequestCancelWorkflowExecution,
    SignalWorkflowExecution,
    TerminateWorkflowExecution,
)
from flowkernel.replay.definitions import HandlerDefinition
from flowkernel.replay.options import TimeSpan

if TYPE_CHECKING:
    from flowkernel.client.client import Client

__all__ = ["WorkflowHandle"]

T_co = TypeVar("T_co", covariant=True)


class WorkflowHandle(Generic[T_co]):
    """An execution, to wait for, ask and steer. Made by `Client.start_workflow` and `Client.get_workflow_handle`.

    Signals, queries and `describe` go to the run ``run_id``, or the latest; `result` belongs to the run that was started. All
    methods raise `RPCError` with NOT_FOUND for an execution that does not exist, or is closed where an open one is needed.
    """

    def __init__(
        self,
        client: Client,
        id: WorkflowId,  # noqa: A002 - the SDK's name
        *,
        run_id: str | None = None,
        result_run_id: str | None = None,
        first_execution_run_id: str | None = None,
        result_type: Any = None,
    ) -> None:
        self._client = client
        self._id = id
        self._run_id = run_id
        self._result_run_id = result_run_id
        self._first_execution_run_id = first_execution_run_id
        self._result_type = result_type

    @property
    def id(self) -> str:
        """The workflow id."""
        return self._id

    @property
    def run_id(self) -> str | None:
        """The run that signals and queries go to; None for the latest."""
        return self._run_id

    @property
    def result_run_id(self) -> str | None:
        """The run whose result is waited for; None for the latest."""
        return self._result_run_id

    @property
    def first_execution_run_id(self) -> str | None:
        """The first run of the chain, which cancel and terminate insist on; None if not known."""
        return self._first_execution_run_id

    def __repr__(self) -> str:
        return f"<WorkflowHandle {self._id}>"

    # --- waiting ----------------------------------------------------------------------------------------------------

    async def result(self) -> T_co:
        """Wait for the result.

        Raises:
            WorkflowFailureError: it failed, was cancelled or terminated, or timed out; ``cause`` says which.
        """
        request = GetWorkflowExecutionHistory(
            self._client.namespace,
            self._id,
            RunId(self._result_run_id or ""),
            wait_new_event=True,
            close_event_only=True,
        )
        history = await self._client.await_close(request)
        return await self._outcome(history.events[-1])

    async def _outcome(self, event: Event) -> Any:
        attributes = event.attributes
        match attributes:
            case ev.WorkflowExecutionCompleted():
                return await self._decode(attributes.result, self._result_type)
            case ev.WorkflowExecutionFailed():
                raise WorkflowFailureError(cause=await self._client.data_converter.decode_failure(attributes.failure))
            case ev.WorkflowExecutionCanceled():
                details = await self._client.data_converter.decode(attributes.details) if attributes.details else []
                raise WorkflowFailureError(cause=CancelledError("Workflow cancelled", *details))
            case ev.WorkflowExecutionTerminated():
                details = await self._client.data_converter.decode(attributes.details) if attributes.details else []
                raise WorkflowFailureError(cause=TerminatedError(attributes.reason or "Workflow terminated", *details))
            case ev.WorkflowExecutionTimedOut():
                error = exceptions.TimeoutError("Workflow timed out", type=TimeoutType.START_TO_CLOSE, last_heartbeat_details=[])
                raise WorkflowFailureError(cause=error)
            case _:
                raise AssertionError(f"{event} does not close a run")

    async def _decode(self, payloads: Payloads, hint: Any) -> Any:
        if not payloads:
            return None
        hints = [hint] if hint is not None else None
        return (await self._client.data_converter.decode(payloads, hints))[0]

    # --- steering ---------------------------------------------------------------------------------------------------

    async def signal(self, signal: Any, arg: Any = UNSET, *, args: Sequence[Any] = (), request_id: str = "") -> None:
        """Send a signal. Durable when this returns, whether or not a worker is there.

        Args:
            signal: the handler (``MyWorkflow.approve``) or the signal's name.
            arg: the only argument; several go into ``args``.
            request_id: a retried signal with the same one arrives once.
        """
        definition = None if isinstance(signal, str) else HandlerDefinition.signal_of(signal)
        name = signal if definition is None else _named(definition)
        names = arguments_of(f"signal {name!r}", definition and definition.fn)
        request = SignalWorkflowExecution(
            self._client.namespace,
            self._id,
            name,
            await self._client.data_converter.encode_named(arguments(arg, args), names),
            RunId(self._run_id or ""),
            request_id,
            self._client.identity,
        )
        await call(self._client.service, request)

    async def query(
        self,
        query: Any,
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        result_type: type[Any] | None = None,
        reject_condition: QueryRejectCondition | None = None,
        rpc_timeout: TimeSpan | None = None,
    ) -> Any:
        """Ask the workflow's code. Works on closed executions too.

        Args:
            query: the handler (``MyWorkflow.status``) or the query's name.
            reject_condition: statuses in which not to ask.
            rpc_timeout: how long to wait for the answer; 10 s if None.

        Raises:
            WorkflowQueryFailedError: the handler raised, or there is none.
            WorkflowQueryRejectedError: because of ``reject_condition``.
            RPCError: DEADLINE_EXCEEDED when no worker answers.
        """
        if isinstance(query, str):
            name, hint, fn = query, result_type, None
        else:
            definition = HandlerDefinition.query_of(query)
            name, hint, fn = _named(definition), result_type or definition.ret_type, definition.fn
        request = QueryWorkflow(
            self._client.namespace,
            self._id,
            name,
            await self._client.data_converter.encode_named(arguments(arg, args), arguments_of(f"query {name!r}", fn)),
            RunId(self._run_id or ""),
            reject_condition=reject_condition or QueryRejectCondition.NONE,
            timeout=nanoseconds(rpc_timeout, "rpc_timeout") or 10 * SECOND,
        )
        try:
            answer = await call(self._client.service, request)
        except QueryFailed as error:
            cause = await self._client.data_converter.decode_failure(error.failure) if error.failure else None
            raise WorkflowQueryFailedError(error.message) from cause
        if answer.rejected is not None:
            raise WorkflowQueryRejectedError(answer.rejected)
        return await self._decode(answer.result, hint)

    async def cancel(self, *, reason: str = "") -> None:
        """Ask the execution to cancel itself. Its code decides what follows; asking twice is no error."""
        await call(
            self._client.service,
            RequestCancelWorkflowExecution(
                self._client.namespace,
                self._id,
                RunId(self._run_id or ""),
                RunId(self._first_execution_run_id or ""),
                reason,
                identity=self._client.identity,
            ),
        )

    async def terminate(self, *args: Any, reason: str | None = None) -> None:
        """End the execution at once, without asking its code.

        Args:
            args: details to keep with it.
        """
        details = await self._client.data_converter.encode_named(args, always("terminate: detail"))
        await call(
            self._client.service,
            TerminateWorkflowExecution(
                self._client.namespace,
                self._id,
                RunId(self._run_id or ""),
                RunId(self._first_execution_run_id or ""),
                reason or "",
                details,
                self._client.identity,
            ),
        )

    # --- looking ----------------------------------------------------------------------------------------------------

    async def describe(self) -> WorkflowExecutionDescription:
        """Where it stands now."""
        request = DescribeWorkflowExecution(self._client.namespace, self._id, RunId(self._run_id or ""))
        return WorkflowExecutionDescription(await call(self._client.service, request), self._client.data_converter)

    async def fetch_history(self, *, with_records: bool = False) -> WorkflowHistory:
        """All its events so far.

        Args:
            with_records: what happened beside them too: attempts, heartbeats, output.
        """
        request = GetWorkflowExecutionHistory(
            self._client.namespace, self._id, RunId(self._run_id or ""), with_records=with_records
        )
        answer = await call(self._client.service, request)
        return WorkflowHistory(answer.run.workflow_id, answer.run.run_id, answer.events, answer.records)

    async def fetch_history_events(self, *, wait_new_event: bool = False) -> AsyncIterator[Event]:
        """Its events one by one.

        Args:
            wait_new_event: wait for further ones until the run is closed.
        """
        last, run_id = 0, RunId(self._run_id or "")
        while True:
            request = GetWorkflowExecutionHistory(
                self._client.namespace, self._id, run_id, after_event_id=last, wait_new_event=wait_new_event
            )
            answer = await call(self._client.service, request)
            run_id = answer.run.run_id
            for event in answer.events:
                last = event.event_id
                yield event
                if type(event.attributes) in ev.CLOSE_EVENTS:
                    return
            if not wait_new_event:
                return


def _named(definition: HandlerDefinition) -> str:
    if definition.name is None:
        raise TypeError("a dynamic handler has no name of its own: give the name that it shall take")
    return definition.name
