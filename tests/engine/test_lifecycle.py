"""A run's own machine: starting, signals, cancellation, termination, timeouts."""

from __future__ import annotations

from typing import Any

import pytest
from engine_rig import COMPLETE, START, Rig, activity, started, value

from flowkernel import engine
from flowkernel.engine import inputs
from flowkernel.model import commands as cmd
from flowkernel.model import requests as req
from flowkernel.model.errors import ExecutionNotFound, InvalidRequest
from flowkernel.model.failures import Failure, RetryState
from flowkernel.model.ids import SECOND
from flowkernel.model.policies import WorkflowExecutionStatus as Status
from flowkernel.model.policies import WorkflowTaskFailedCause as Cause


def cancel(rig: Rig, **fields: Any) -> Any:
    return rig.ask(req.RequestCancelWorkflowExecution("default", "order", **fields))  # type: ignore[arg-type]


def terminate(rig: Rig, **fields: Any) -> Any:
    return rig.ask(req.TerminateWorkflowExecution("default", "order", **fields))  # type: ignore[arg-type]


# --- starting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"workflow_id": ""}, "workflow_id is empty"),
        ({"workflow_type": ""}, "workflow_type is empty"),
        ({"task_queue": ""}, "task_queue is empty"),
        ({"namespace": ""}, "namespace is empty"),
        ({"workflow_id": "x" * 1001}, "workflow_id is 1001 characters long; at most 1000"),
        ({"run_timeout": -1}, "run_timeout is negative"),
        ({"execution_timeout": -1}, "execution_timeout is negative"),
        ({"task_timeout": -1}, "task_timeout is negative"),
    ],
)
def test_a_start_that_breaks_a_rule_is_refused(fields, message):
    asked = {"namespace": "default", "workflow_id": "order", "workflow_type": "Order", "task_queue": "queue", **fields}
    with pytest.raises(InvalidRequest, match=message):
        engine.start_run(inputs.StartRun(req.StartWorkflowExecution(**asked), "run"), now=START)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("execution", "run", "kept", "expires"),
    [(0, 0, 0, 0), (60, 0, 60, 60), (0, 30, 30, 30), (60, 30, 30, 30), (60, 90, 60, 60)],
)
def test_the_run_timeout_defaults_to_the_execution_timeout_and_is_capped_by_it(execution, run, kept, expires):
    rig = Rig(execution_timeout=execution * SECOND, run_timeout=run * SECOND)
    assert rig.execution.started.run_timeout == kept * SECOND
    assert rig.execution.run_expiration_time == (START + expires * SECOND if expires else 0)


# --- signals ----------------------------------------------------------------------------------------------------------


def test_a_signal_wakes_the_code():
    rig = started()
    transition = rig.ask(req.SignalWorkflowExecution("default", "order", "approve", value("Ada"), identity="me"))  # type: ignore[arg-type]
    assert rig.happened(transition) == ["WorkflowExecutionSignaled", "WorkflowTaskScheduled"]
    signaled = rig.attributes("WorkflowExecutionSignaled")
    assert (signaled.signal_name, signaled.input, signaled.identity) == ("approve", value("Ada"), "me")


def test_signals_before_the_code_looks_share_one_task():
    rig = started()
    rig.signal("a")
    assert rig.happened(rig.signal("b")) == ["WorkflowExecutionSignaled"]


@pytest.mark.parametrize("when", ["waiting", "while a task is out", "after the first was placed"])
def test_a_signal_that_is_sent_again_counts_once(when):
    rig = started()
    if when == "while a task is out":
        rig.signal("other")
        rig.take()
    rig.signal(request_id="1")
    if when == "after the first was placed":
        rig.task()
    assert not rig.signal(request_id="1").writes
    assert rig.signal(request_id="2").writes
    assert rig.signal().writes
    assert rig.signal().writes


def test_a_signal_needs_a_name():
    with pytest.raises(InvalidRequest, match="signal_name is empty"):
        started().signal("")


# --- cancellation -----------------------------------------------------------------------------------------------------


def test_a_run_is_asked_to_cancel_once():
    rig = started()
    transition = cancel(rig, reason="enough", identity="me", request_id="1")
    assert rig.happened(transition) == ["WorkflowExecutionCancelRequested", "WorkflowTaskScheduled"]
    requested = rig.attributes("WorkflowExecutionCancelRequested")
    assert (requested.cause, requested.identity, requested.request_id) == ("enough", "me", "1")
    for request_id in ("1", "2", ""):
        assert not cancel(rig, request_id=request_id).writes
    rig.task()
    assert not cancel(rig).writes
    assert rig.execution.open


def test_asking_twice_while_a_task_is_out_counts_once():
    rig = started()
    rig.signal()
    rig.take()
    assert rig.happened(cancel(rig)) == ["EventBuffered"]
    assert not cancel(rig).writes
    rig.answer()
    assert rig.names.count("WorkflowExecutionCancelRequested") == 1


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (COMPLETE, Status.COMPLETED),  # 13: code may catch it and return
        (cmd.CancelWorkflowExecution(), Status.CANCELED),
        (cmd.FailWorkflowExecution(Failure("no")), Status.FAILED),
    ],
)
def test_13_the_code_decides_how_a_cancelled_run_ends(command, status):
    rig = started()
    cancel(rig)
    rig.task(command)
    assert rig.execution.status is status


# --- ends -------------------------------------------------------------------------------------------------------------

ENDS = {
    "completed": lambda rig: rig.task(cmd.CompleteWorkflowExecution(value("done"))),
    "failed": lambda rig: rig.task(cmd.FailWorkflowExecution(Failure("no"))),
    "canceled": lambda rig: rig.task(cmd.CancelWorkflowExecution()),
    "terminated": terminate,
    "timed out": lambda rig: rig.advance(1000 * SECOND),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_closed_run_takes_nothing_and_keeps_nothing(end):
    rig = Rig(run_timeout=1000 * SECOND)
    rig.task(activity(start_to_close_timeout=2000 * SECOND), cmd.StartTimer("1", 2000 * SECOND))
    rig.signal()
    ENDS[end](rig)
    assert not rig.execution.open
    assert rig.execution.close_event is rig.history[-1]
    for request in (
        req.SignalWorkflowExecution("default", "order", "approve"),  # type: ignore[arg-type]
        req.RequestCancelWorkflowExecution("default", "order"),  # type: ignore[arg-type]
        req.TerminateWorkflowExecution("default", "order"),  # type: ignore[arg-type]
        inputs.StartWorkflowTask("worker"),
        inputs.StartActivityTask(5, 1, "worker"),
    ):
        with pytest.raises(ExecutionNotFound) as caught:
            rig.ask(request)
        assert caught.value.closed
    for late in (inputs.ReturnWorkflowTask(), inputs.WakeWorkflowTask(), inputs.LoseActivityAttempt(5, 1)):
        assert not rig.ask(late).writes
    assert rig.advance(10_000 * SECOND) == []
    assert engine.deadlines(rig.execution) == []
    assert engine.ready_tasks(rig.execution) == []


def end_from_outside(rig: Rig, how: str) -> str:
    if how == "terminate":
        terminate(rig, reason="enough", details=value("why"), identity="me")
        return "WorkflowExecutionTerminated"
    rig.advance(rig.execution.run_expiration_time - rig.now)
    return "WorkflowExecutionTimedOut"


@pytest.mark.parametrize("how", ["terminate", "time out"])
def test_a_run_that_ends_from_outside_while_its_code_runs_keeps_what_has_happened(how):
    rig = Rig(run_timeout=100 * SECOND, task_timeout=120 * SECOND)
    rig.take()
    rig.signal("unseen")
    last = end_from_outside(rig, how)
    assert rig.since(2) == ["WorkflowTaskStarted", "WorkflowTaskFailed", "WorkflowExecutionSignaled", last]
    assert rig.attributes("WorkflowTaskFailed").cause is Cause.FORCE_CLOSE_COMMAND
    with pytest.raises(ExecutionNotFound):
        rig.answer(COMPLETE)


@pytest.mark.parametrize("how", ["terminate", "time out"])
def test_a_repeated_attempt_that_is_interrupted_leaves_nothing(how):
    rig = Rig(run_timeout=100 * SECOND, task_timeout=120 * SECOND)
    rig.take()
    rig.break_code()
    rig.take()
    rig.signal("unseen")
    last = end_from_outside(rig, how)
    assert rig.since(4) == ["WorkflowExecutionSignaled", last]


def test_a_termination_says_why():
    rig = started()
    terminate(rig, reason="enough", details=value("why"), identity="me")
    ended = rig.attributes("WorkflowExecutionTerminated")
    assert (ended.reason, ended.details, ended.identity) == ("enough", value("why"), "me")
    assert rig.execution.status is Status.TERMINATED


def test_a_run_times_out_without_its_code():
    rig = Rig(run_timeout=100 * SECOND)
    assert rig.advance(100 * SECOND - 1) == []
    assert rig.advance(1) == ["WorkflowExecutionTimedOut"]
    assert rig.attributes("WorkflowExecutionTimedOut").retry_state is RetryState.RETRY_POLICY_NOT_SET
    assert rig.execution.status is Status.TIMED_OUT
