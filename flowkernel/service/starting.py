"""Starting executions: the id policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowkernel import engine
from flowkernel.api import Reply
from flowkernel.engine import inputs
from flowkernel.model.errors import ExecutionAlreadyStarted, InvalidRequest
from flowkernel.model.ids import RunId
from flowkernel.model.policies import WorkflowExecutionStatus, WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from flowkernel.model.requests import (
    StartWorkflowExecution,
    StartWorkflowExecutionResponse,
    TerminateWorkflowExecution,
)
from flowkernel.service.runs import Entry

if TYPE_CHECKING:
    from flowkernel.service.core import Core

_NOT_CLEAN = frozenset(
    {
        WorkflowExecutionStatus.FAILED,
        WorkflowExecutionStatus.CANCELED,
        WorkflowExecutionStatus.TERMINATED,
        WorkflowExecutionStatus.TIMED_OUT,
    }
)


def start(core: Core, request: StartWorkflowExecution, reply: Reply[StartWorkflowExecutionResponse]) -> None:
    """Start an execution, or answer with the one that this request or a policy leads to.

    Raises:
        ExecutionAlreadyStarted: id policies forbid it.
        InvalidRequest: a field breaks a rule.
    """
    conflict, reuse = request.id_conflict_policy, request.id_reuse_policy
    terminates = reuse is WorkflowIdReusePolicy.TERMINATE_IF_RUNNING
    if terminates and conflict is not WorkflowIdConflictPolicy.UNSPECIFIED:
        raise InvalidRequest("start: id_reuse_policy TERMINATE_IF_RUNNING cannot be combined with an id_conflict_policy")
    if terminates:
        conflict = WorkflowIdConflictPolicy.TERMINATE_EXISTING
    known = core.runs.find(request.namespace, request.workflow_id)
    started = _started_by(request, known)
    if started is not None:
        core.later(reply, StartWorkflowExecutionResponse(started, started=True))
        return
    if known is not None and known.execution.open:
        run_id = known.execution.ref.run_id
        if conflict is WorkflowIdConflictPolicy.USE_EXISTING:
            core.later(reply, StartWorkflowExecutionResponse(run_id, started=False))
            return
        if conflict is not WorkflowIdConflictPolicy.TERMINATE_EXISTING:
            raise ExecutionAlreadyStarted(request.workflow_id, run_id, "is already running")
    elif reuse not in (WorkflowIdReusePolicy.ALLOW_DUPLICATE, WorkflowIdReusePolicy.TERMINATE_IF_RUNNING):
        _check_reuse(core, request)
    transition = engine.start_run(inputs.StartRun(request, core.new_run_id(core.now)), now=core.now)
    if known is not None and known.execution.open:
        reason = "TerminateIfRunning WorkflowIdReusePolicy" if terminates else "TerminateExisting WorkflowIdConflictPolicy"
        ref = known.execution.ref
        core.apply(
            known,
            TerminateWorkflowExecution(ref.namespace, ref.workflow_id, ref.run_id, reason=reason, identity=request.identity),
        )
    core.start(transition)
    core.later(reply, StartWorkflowExecutionResponse(transition.run.run_id, started=True))


def _started_by(request: StartWorkflowExecution, known: Entry | None) -> RunId | None:
    """The run that this very request has started already, when its sender did not hear of it and asks again.

    Looks at runs in memory only, which hold the latest: a sender asks again within seconds.
    """
    if not request.request_id or known is None or known.execution.start_request_id != request.request_id:
        return None
    return known.execution.ref.run_id


def _check_reuse(core: Core, request: StartWorkflowExecution) -> None:
    known = core.runs.find(request.namespace, request.workflow_id)
    run_id: RunId
    if known is not None:
        run_id, status = known.execution.ref.run_id, known.execution.status
    else:
        row = core.store.find_run(request.namespace, request.workflow_id)
        if row is None:
            return
        run_id, status = row.run.run_id, row.status
    if request.id_reuse_policy is WorkflowIdReusePolicy.REJECT_DUPLICATE:
        raise ExecutionAlreadyStarted(request.workflow_id, run_id, "has run already, and REJECT_DUPLICATE forbids another run")
    if status not in _NOT_CLEAN:
        raise ExecutionAlreadyStarted(
            request.workflow_id, run_id, "has completed, and ALLOW_DUPLICATE_FAILED_ONLY forbids another run"
        )
