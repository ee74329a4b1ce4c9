"""Starting: the id policies. 47 is the number in the specification's list of subtleties."""

from __future__ import annotations

import pytest
from desk import COMPLETE, NAMESPACE, Desk, start

from flowkernel.model import commands as cmd
from flowkernel.model import requests as req
from flowkernel.model.errors import ExecutionAlreadyStarted, InvalidRequest, RPCStatusCode
from flowkernel.model.failures import Failure
from flowkernel.model.ids import SECOND
from flowkernel.model.policies import WorkflowExecutionStatus as Status
from flowkernel.model.policies import WorkflowIdConflictPolicy as Conflict
from flowkernel.model.policies import WorkflowIdReusePolicy as Reuse

NOT_CLEAN = (Status.FAILED, Status.CANCELED, Status.TERMINATED, Status.TIMED_OUT)
CLOSED = (Status.COMPLETED, *NOT_CLEAN)


def closed(status: Status) -> Desk:
    """A desk with a run that ended this way."""
    desk = Desk()
    ends = {
        Status.COMPLETED: COMPLETE,
        Status.FAILED: cmd.FailWorkflowExecution(Failure("no")),
        Status.CANCELED: cmd.CancelWorkflowExecution(),
    }
    if status in ends:
        desk.run(ends[status])
    elif status is Status.TERMINATED:
        desk.run()
        desk.ask(req.TerminateWorkflowExecution(NAMESPACE, "order"))  # type: ignore[arg-type]
    else:
        desk.run(run_timeout=5 * SECOND)
        desk.advance(5)
        desk.commit()
    row = desk.store.find_run(NAMESPACE, "order")
    assert row is not None
    assert row.status is status
    return desk


def allowed(reuse: Reuse, status: Status) -> bool:
    if reuse is Reuse.REJECT_DUPLICATE:
        return False
    return reuse is not Reuse.ALLOW_DUPLICATE_FAILED_ONLY or status in NOT_CLEAN


@pytest.mark.parametrize("in_memory", [True, False], ids=["in memory", "after a restart"])
@pytest.mark.parametrize("conflict", list(Conflict), ids=lambda policy: policy.name)
@pytest.mark.parametrize("reuse", list(Reuse), ids=lambda policy: policy.name)
@pytest.mark.parametrize("status", CLOSED, ids=lambda status: status.name)
def test_47_after_the_end_only_the_reuse_policy_counts(status, reuse, conflict, in_memory):
    desk = closed(status)
    if not in_memory:
        desk = desk.restarted()
    request = start(id_reuse_policy=reuse, id_conflict_policy=conflict)
    before = desk.names()
    if reuse is Reuse.TERMINATE_IF_RUNNING and conflict is not Conflict.UNSPECIFIED:
        with pytest.raises(InvalidRequest, match="cannot be combined"):
            desk.ask(request)
    elif allowed(reuse, status):
        answer = desk.ask(request)
        assert answer == req.StartWorkflowExecutionResponse("run-2", True)  # type: ignore[arg-type]
        assert desk.names() == ["WorkflowExecutionStarted", "WorkflowTaskScheduled"]
        return
    else:
        with pytest.raises(ExecutionAlreadyStarted) as caught:
            desk.ask(request)
        assert caught.value.run_id == "run-1"
        assert caught.value.status is RPCStatusCode.ALREADY_EXISTS
        assert reuse.name in str(caught.value)
    assert desk.names() == before


@pytest.mark.parametrize("conflict", list(Conflict), ids=lambda policy: policy.name)
@pytest.mark.parametrize("reuse", list(Reuse), ids=lambda policy: policy.name)
def test_47_while_it_runs_only_the_conflict_policy_counts(reuse, conflict):
    desk = Desk()
    desk.run()
    request = start(id_reuse_policy=reuse, id_conflict_policy=conflict)
    if reuse is Reuse.TERMINATE_IF_RUNNING and conflict is not Conflict.UNSPECIFIED:
        with pytest.raises(InvalidRequest, match="cannot be combined"):
            desk.ask(request)
    elif reuse is Reuse.TERMINATE_IF_RUNNING or conflict is Conflict.TERMINATE_EXISTING:
        assert desk.ask(request) == req.StartWorkflowExecutionResponse("run-2", True)  # type: ignore[arg-type]
        assert desk.store.history("run-1")[-1].stored_name == "WorkflowExecutionTerminated"  # type: ignore[arg-type]
        return
    elif conflict is Conflict.USE_EXISTING:
        assert desk.ask(request) == req.StartWorkflowExecutionResponse("run-1", False)  # type: ignore[arg-type]
    else:
        with pytest.raises(ExecutionAlreadyStarted, match="'order' is already running") as caught:
            desk.ask(request)
        assert caught.value.run_id == "run-1"
    assert desk.store.history("run-1")[-1].stored_name == "WorkflowTaskCompleted"  # type: ignore[arg-type]
    assert len(desk.core.runs.open) == 1


@pytest.mark.parametrize("conflict", [Conflict.UNSPECIFIED, Conflict.USE_EXISTING, Conflict.TERMINATE_EXISTING])
@pytest.mark.parametrize("when", ["running", "closed", "running, after a restart"])
def test_47_the_same_request_starts_once(when, conflict):
    desk = Desk()
    desk.run(*([COMPLETE] if "closed" in when else []), request_id="1")
    if "restart" in when:
        desk = desk.restarted()
    again = desk.ask(start(request_id="1", id_conflict_policy=conflict))
    assert again == req.StartWorkflowExecutionResponse("run-1", True)  # type: ignore[arg-type]
    assert desk.store.find_run(NAMESPACE, "order").run.run_id == "run-1"  # type: ignore[union-attr]


def test_a_request_is_forgotten_over_a_restart_once_its_run_has_closed():
    """Looking each one up in the store would cost every start of a used id a query."""
    desk = Desk()
    desk.run(COMPLETE, request_id="1")
    assert desk.restarted().ask(start(request_id="1")).run_id == "run-2"


def test_another_request_is_another_start():
    desk = Desk()
    desk.run(COMPLETE, request_id="1")
    assert desk.ask(start(request_id="2")).run_id == "run-2"


def test_a_start_that_breaks_a_rule_terminates_nothing():
    desk = Desk()
    desk.run()
    with pytest.raises(InvalidRequest, match="run_timeout is negative"):
        desk.ask(start(id_conflict_policy=Conflict.TERMINATE_EXISTING, run_timeout=-1))
    assert desk.names()[-1] == "WorkflowTaskCompleted"


def test_ids_are_apart_in_each_namespace():
    desk = Desk()
    desk.run()
    other = req.StartWorkflowExecution("other", "order", "Order", "queue")  # type: ignore[arg-type]
    assert desk.ask(other).run_id == "run-2"
    assert len(desk.core.runs.open) == 2
