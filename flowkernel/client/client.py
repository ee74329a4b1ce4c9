"""The client: starts executions and finds them again."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from flowkernel import common
from flowkernel.api import Service, call
from flowkernel.client.activities import AsyncActivityHandle
from flowkernel.client.embedded import open_files
from flowkernel.client.handle import WorkflowHandle
from flowkernel.client.values import UNSET, WorkflowExecution, arguments, nanoseconds, require_texts, result_type_of, run_of
from flowkernel.converter import DataConverter, encode_search_attributes
from flowkernel.converter.naming import always, arguments_of
from flowkernel.exceptions import WorkflowAlreadyStartedError
from flowkernel.model.errors import ExecutionAlreadyStarted
from flowkernel.model.events import UserMetadata
from flowkernel.model.ids import RunId, WorkflowId
from flowkernel.model.payloads import Payload
from flowkernel.model.policies import Priority, WorkflowExecutionStatus
from flowkernel.model.requests import (
    ActivityAddress,
    GetWorkflowExecutionHistory,
    GetWorkflowExecutionHistoryResponse,
    ListWorkflowExecutions,
    StartWorkflowExecution,
)
from flowkernel.model.tasks import TaskToken
from flowkernel.replay import WorkflowDefinition
from flowkernel.replay.options import TimeSpan
from flowkernel.service import Clock, EmbeddedService

__all__ = ["Client", "open_client"]


class Client:
    """A connection to a service. Make one with `connect`; use it as an async context manager, or `close` it.

    Args:
        service: whoever answers the requests.
        namespace: isolates ids and histories.
        data_converter: reads and writes values.
        identity: shown in histories; process id and host if None.
    """

    def __init__(
        self,
        service: Service,
        *,
        namespace: str = "default",
        data_converter: DataConverter | None = None,
        identity: str | None = None,
    ) -> None:
        self._service = service
        self._namespace = namespace
        self._data_converter = data_converter or DataConverter.default
        self._identity = identity or f"{os.getpid()}@{socket.gethostname()}"
        self._embedded: EmbeddedService | None = None

    @staticmethod
    async def connect(
        target: str | Path,
        *,
        namespace: str = "default",
        data_converter: DataConverter | None = None,
        identity: str | None = None,
    ) -> Client:
        """Open a database file, with a service in this process, and connect to it.

        Args:
            target: path of a DuckDB file, made if it is not there, or ``":memory:"`` for one that is gone when closed.
            namespace: as for the class, as are the others.

        Raises:
            DatabaseInUse: another process has it open.
            StoreError: it cannot be read or written; the error says which and what to do.
            UnsupportedTarget: the address of a server.
        """
        return open_client(target, namespace=namespace, data_converter=data_converter, identity=identity)

    # --- properties -------------------------------------------------------------------------------------------------

    @property
    def service(self) -> Service:
        """Whoever answers the requests."""
        return self._service

    @property
    def namespace(self) -> str:
        """The namespace of all requests."""
        return self._namespace

    @property
    def data_converter(self) -> DataConverter:
        """Reads and writes values."""
        return self._data_converter

    @property
    def identity(self) -> str:
        """Shown in histories."""
        return self._identity

    @property
    def failure_exception_types(self) -> Sequence[type[BaseException]]:
        """Exceptions that fail workflows, instead of suspending them, in all workers of this client."""
        return ()

    # --- life -------------------------------------------------------------------------------------------------------

    def adopt(self, embedded: EmbeddedService) -> Client:
        """Close this service with the client."""
        self._embedded = embedded
        return self

    def close(self, timeout: float = 10.0) -> None:
        """Let go of the file. What was acknowledged is in it; open executions go on when it is opened again.

        Args:
            timeout: seconds to wait for the service to finish.
        """
        embedded, self._embedded = self._embedded, None
        if embedded is not None:
            open_files.release(embedded, timeout)

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    # --- starting ---------------------------------------------------------------------------------------------------

    async def start_workflow(
        self,
        workflow: Any,
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        id: str,  # noqa: A002 - the SDK's name
        task_queue: str,
        result_type: type[Any] | None = None,
        execution_timeout: TimeSpan | None = None,
        run_timeout: TimeSpan | None = None,
        task_timeout: TimeSpan | None = None,
        id_reuse_policy: common.WorkflowIDReusePolicy = common.WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        id_conflict_policy: common.WorkflowIDConflictPolicy = common.WorkflowIDConflictPolicy.UNSPECIFIED,
        memo: Mapping[str, Any] | None = None,
        search_attributes: common.TypedSearchAttributes | None = None,
        static_summary: str | None = None,
        static_details: str | None = None,
        priority: common.Priority | None = None,
        request_id: str | None = None,
    ) -> WorkflowHandle[Any]:
        """Start an execution and return at once.

        Args:
            workflow: the class, its run method, or the workflow type's name.
            arg: the only argument; several go into ``args``.
            id: what to call the execution; unique among the open ones of the namespace.
            task_queue: whose workers shall run it.
            result_type: what to read the result as; the run method's return type if None.
            execution_timeout: for the execution with all its runs. Timedelta, seconds or text such as ``"2h"``.
            run_timeout: for one run.
            task_timeout: for one workflow task; 10 s if None.
            id_reuse_policy: when a closed execution had the id.
            id_conflict_policy: when an open one has it.
            memo: values to keep with the execution; not for its code to change.
            search_attributes: for finding it.
            static_summary: one line for people.
            static_details: more for people, in Markdown.
            priority: among the tasks of the queue.
            request_id: a retried start with the same one starts nothing new.

        Raises:
            WorkflowAlreadyStartedError: the id policies forbid it.
            TypeError: not a workflow, or an option of another type.
            ValueError: a timeout that cannot be read.
            ValueNotConvertibleError: an argument has no form that can be recorded. Nothing was started.
            PayloadTooLargeError: an argument is too large to be recorded. Nothing was started.
            RPCError: INVALID_ARGUMENT for an option that breaks a rule.
        Durable: the start, when this returns.
        """
        workflow_type = WorkflowDefinition.name_of(workflow)
        require_texts(f"start of {workflow_type!r}", id=id, task_queue=task_queue)
        values = arguments(arg, args)
        names = arguments_of(f"workflow {workflow_type!r}", run_of(workflow))
        request = StartWorkflowExecution(
            namespace=self._namespace,
            workflow_id=WorkflowId(id),
            workflow_type=workflow_type,
            task_queue=task_queue,
            input=await self._data_converter.encode_named(values, names),
            request_id=request_id or secrets.token_hex(16),
            identity=self._identity,
            execution_timeout=nanoseconds(execution_timeout, "execution_timeout"),
            run_timeout=nanoseconds(run_timeout, "run_timeout"),
            task_timeout=nanoseconds(task_timeout, "task_timeout"),
            id_reuse_policy=id_reuse_policy,
            id_conflict_policy=id_conflict_policy,
            memo=await self._encode_memo(memo) if memo else {},
            search_attributes=encode_search_attributes(search_attributes) if search_attributes else {},
            user_metadata=await self._user_metadata(static_summary, static_details),
            priority=priority.to_model() if priority else Priority(),
        )
        return await self.start(request, result_type or result_type_of(workflow))

    async def start(self, request: StartWorkflowExecution, result_type: Any = None) -> WorkflowHandle[Any]:
        """Start an execution from a ready request. Errors as for `start_workflow`."""
        try:
            answer = await call(self._service, request)
        except ExecutionAlreadyStarted as error:
            started = WorkflowAlreadyStartedError(error.workflow_id, request.workflow_type, run_id=error.run_id)
            raise started.because(f"{error}. {_OTHER_WAYS}") from None
        return WorkflowHandle(
            self,
            request.workflow_id,
            result_run_id=answer.run_id,
            first_execution_run_id=answer.run_id if answer.started else None,
            result_type=result_type,
        )

    async def execute_workflow(self, workflow: Any, arg: Any = UNSET, **options: Any) -> Any:
        """Start an execution and wait for its result. See `start_workflow` and `WorkflowHandle.result`."""
        handle = await self.start_workflow(workflow, arg, **options)
        return await handle.result()

    async def await_close(self, request: GetWorkflowExecutionHistory) -> GetWorkflowExecutionHistoryResponse:
        """Wait for a run to close. Test environments let time pass here."""
        return await call(self._service, request)

    async def _encode_memo(self, memo: Mapping[str, Any]) -> dict[str, Payload]:
        encode = self._data_converter.encode_named
        return {key: (await encode([value], always(f"memo {key!r}")))[0] for key, value in memo.items()}

    async def _user_metadata(self, summary: str | None, details: str | None) -> UserMetadata | None:
        if summary is None and details is None:
            return None
        encode = self._data_converter.encode_named
        return UserMetadata(
            (await encode([summary], always("static_summary")))[0] if summary is not None else None,
            (await encode([details], always("static_details")))[0] if details is not None else None,
        )

    # --- finding ----------------------------------------------------------------------------------------------------

    def get_workflow_handle(
        self,
        workflow_id: str,
        *,
        run_id: str | None = None,
        first_execution_run_id: str | None = None,
        result_type: type[Any] | None = None,
    ) -> WorkflowHandle[Any]:
        """A handle on an execution that was started before. Nothing is looked up here.

        Args:
            run_id: a certain run; the latest if None.
            first_execution_run_id: cancel and terminate only if the run belongs to the chain that began with this one.
            result_type: what to read the result as.
        """
        return WorkflowHandle(
            self,
            WorkflowId(workflow_id),
            run_id=run_id,
            result_run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=result_type,
        )

    def get_workflow_handle_for(
        self, workflow: Any, workflow_id: str, *, run_id: str | None = None, first_execution_run_id: str | None = None
    ) -> WorkflowHandle[Any]:
        """As `get_workflow_handle`, with the result read as the workflow's code says."""
        return self.get_workflow_handle(
            workflow_id,
            run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=result_type_of(workflow),
        )

    async def list_workflows(
        self,
        query: str = "",
        *,
        status: WorkflowExecutionStatus | None = None,
        workflow_type: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[WorkflowExecution]:
        """Executions of the namespace, latest start first.

        Raises:
            RPCError: INVALID_ARGUMENT for a ``query``, which this version does not read.
        """
        request = ListWorkflowExecutions(
            self._namespace, query, status=status, workflow_type=workflow_type, limit=limit or 1_000_000
        )
        for info in (await call(self._service, request)).executions:
            yield WorkflowExecution(info, self._data_converter)

    def get_async_activity_handle(
        self,
        *,
        workflow_id: str | None = None,
        run_id: str | None = None,
        activity_id: str | None = None,
        task_token: bytes | None = None,
    ) -> AsyncActivityHandle:
        """A handle on an activity that is completed from outside: by token, or by workflow id and activity id.

        Raises:
            ValueError: neither, or both, or bytes that are no token.
        """
        if task_token is not None:
            if workflow_id is not None or activity_id is not None or run_id is not None:
                raise ValueError("get_async_activity_handle: give task_token, or workflow_id and activity_id, not both")
            return AsyncActivityHandle(self, TaskToken.decode(task_token))
        if workflow_id is None or activity_id is None:
            raise ValueError("get_async_activity_handle: give task_token, or workflow_id and activity_id")
        address = ActivityAddress(self._namespace, WorkflowId(workflow_id), RunId(run_id or ""), activity_id)
        return AsyncActivityHandle(self, address)


def open_client(
    target: str | Path,
    *,
    namespace: str = "default",
    data_converter: DataConverter | None = None,
    identity: str | None = None,
    owner: str | None = None,
    clock: Clock | None = None,
) -> Client:
    """`Client.connect` for code that is not asynchronous.

    Args:
        owner: who to name to others who find the file in use; the program's name if None.
        clock: where the service's time comes from.
    """
    service = open_files.acquire(target, owner=owner or _program(), clock=clock)
    client = Client(service, namespace=namespace, data_converter=data_converter, identity=identity)
    return client.adopt(service)


_OTHER_WAYS = (
    "Choose another id, use get_workflow_handle to find that execution, or pass another id_conflict_policy or id_reuse_policy"
)


def _program() -> str:
    return Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
