"""Histories, descriptions and lists."""

from __future__ import annotations

from typing import Any

import pytest
from desk import COMPLETE, NAMESPACE, QUEUE, START, Desk, Reply, activity, signal, start

from flowkernel.model import commands as cmd
from flowkernel.model import requests as req
from flowkernel.model.errors import ExecutionNotFound, InvalidRequest
from flowkernel.model.execution import ActivityState
from flowkernel.model.ids import SECOND
from flowkernel.model.policies import WorkflowExecutionStatus as Status
from flowkernel.model.records import ActivityAttemptStarted


def history(**fields: Any) -> req.GetWorkflowExecutionHistory:
    return req.GetWorkflowExecutionHistory(NAMESPACE, "order", **fields)  # type: ignore[arg-type]


def names(reply: Reply) -> list[str]:
    return [event.stored_name for event in reply.value.events]


def test_a_history_is_what_is_durable():
    desk = Desk()
    desk.send(start())
    reply = desk.send(history())
    assert not reply.done
    desk.commit()
    assert names(reply) == ["WorkflowExecutionStarted", "WorkflowTaskScheduled"]


def test_a_part_of_it_with_the_records_beside_it():
    desk = Desk()
    desk.running()
    answer = desk.ask(history(after_event_id=3, with_records=True))
    assert [event.event_id for event in answer.events] == [4, 5]
    assert [type(record) for record in answer.records] == [ActivityAttemptStarted]


def test_waiting_for_the_next_event():
    desk = Desk()
    desk.run()
    reply = desk.send(history(after_event_id=4, wait_new_event=True))
    desk.commit()
    assert not reply.done
    desk.send(signal("x"))
    assert not reply.done
    desk.commit()
    assert names(reply) == ["WorkflowExecutionSignaled", "WorkflowTaskScheduled"]


def test_waiting_for_the_end():
    desk = Desk()
    desk.run()
    reply = desk.send(history(wait_new_event=True, close_event_only=True))
    poll = desk.poll()
    desk.ask(signal("x"))
    assert not reply.done
    desk.answer(poll.value[0], COMPLETE)
    assert not reply.done
    desk.commit()
    assert names(reply) == ["WorkflowExecutionCompleted"]


@pytest.mark.parametrize("fields", [{}, {"close_event_only": True}, {"after_event_id": 5}, {"after_event_id": 99}])
@pytest.mark.parametrize("in_memory", [True, False])
def test_nobody_waits_for_a_run_that_has_closed(fields, in_memory):
    desk = Desk()
    desk.run(COMPLETE)
    if not in_memory:
        desk = desk.restarted()
    reply = desk.send(history(wait_new_event=True, **fields))
    desk.commit()
    after = fields.get("after_event_id", 4 if fields else 0)
    assert [event.event_id for event in reply.value.events] == list(range(after + 1, 6))


def test_who_waits_for_too_much_is_answered_when_the_run_closes():
    desk = Desk()
    desk.run()
    reply = desk.send(history(after_event_id=99, wait_new_event=True))
    desk.ask(req.TerminateWorkflowExecution(NAMESPACE, "order"))  # type: ignore[arg-type]
    assert reply.value.events == ()


def test_the_last_event_alone_without_waiting():
    desk = Desk()
    desk.run()
    reply = desk.send(history(close_event_only=True))
    desk.commit()
    assert names(reply) == ["WorkflowTaskCompleted"]


@pytest.mark.parametrize("fields", [{}, {"run_id": "run-9"}, {"wait_new_event": True}])
def test_an_unknown_run_is_not_found(fields):
    desk = Desk()
    if "run_id" in fields:
        desk.run()
    with pytest.raises(ExecutionNotFound):
        desk.ask(history(**fields))


def test_namespaces_do_not_see_each_other():
    desk = Desk()
    desk.run()
    for request in (
        req.SignalWorkflowExecution("elsewhere", "order", "x", run_id="run-1"),  # type: ignore[arg-type]
        req.GetWorkflowExecutionHistory("elsewhere", "order", "run-1"),  # type: ignore[arg-type]
        req.DescribeWorkflowExecution("elsewhere", "order", "run-1"),  # type: ignore[arg-type]
        req.TerminateWorkflowExecution("elsewhere", "order"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ExecutionNotFound):
            desk.ask(request)
    assert desk.ask(req.ListWorkflowExecutions("elsewhere")).executions == ()


@pytest.mark.parametrize("request_type", [req.RequestCancelWorkflowExecution, req.TerminateWorkflowExecution])
def test_47_a_request_to_another_chain_is_not_found(request_type):
    desk = Desk()
    desk.run()
    with pytest.raises(ExecutionNotFound):
        desk.ask(request_type(NAMESPACE, "order", first_execution_run_id="run-0"))
    assert desk.ask(request_type(NAMESPACE, "order", first_execution_run_id="run-1")) is None


def test_describing_an_open_run():
    desk = Desk()
    poll = desk.poll_activities()
    desk.run(activity(), cmd.StartTimer("1", 5 * SECOND))
    assert poll.done
    found = desk.ask(req.DescribeWorkflowExecution(NAMESPACE, "order"))  # type: ignore[arg-type]
    assert (found.status, found.start_time, found.close_time) == (Status.RUNNING, START, 0)
    assert [pending.state for pending in found.pending_activities] == [ActivityState.STARTED]
    assert [timer.fire_time for timer in found.pending_timers] == [START + 5 * SECOND]
    assert found.history_length == 6
    assert found.has_worker
    desk.unregister()
    assert not desk.ask(req.DescribeWorkflowExecution(NAMESPACE, "order")).has_worker  # type: ignore[arg-type]


@pytest.mark.parametrize("in_memory", [True, False])
def test_describing_a_closed_run(in_memory):
    desk = Desk()
    desk.run(COMPLETE)
    desk = desk if in_memory else desk.restarted()
    found = desk.ask(req.DescribeWorkflowExecution(NAMESPACE, "order"))  # type: ignore[arg-type]
    assert (found.status, found.close_time, found.history_length) == (Status.COMPLETED, START, 5)


def test_listing():
    desk = Desk()
    desk.run(COMPLETE)
    desk.now += SECOND
    desk.ask(start("other"))
    listed = desk.ask(req.ListWorkflowExecutions(NAMESPACE)).executions
    assert [(info.run.workflow_id, info.status) for info in listed] == [("other", Status.RUNNING), ("order", Status.COMPLETED)]
    assert {info.task_queue for info in listed} == {QUEUE}
    (one,) = desk.ask(req.ListWorkflowExecutions(NAMESPACE, status=Status.COMPLETED)).executions
    assert one.run.workflow_id == "order"


def test_a_filter_is_refused_rather_than_ignored():
    with pytest.raises(InvalidRequest, match="filters are not supported yet"):
        Desk().ask(req.ListWorkflowExecutions(NAMESPACE, "WorkflowType = 'x'"))
