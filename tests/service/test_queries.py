"""Queries: who answers them, when, and what they may not do."""

from __future__ import annotations

import pytest
from desk import COMPLETE, NAMESPACE, Desk, Reply, activity, kinds, signal, start, value

from flowkernel.model import requests as req
from flowkernel.model.errors import ExecutionNotFound, RPCError, RPCStatusCode
from flowkernel.model.failures import Failure
from flowkernel.model.ids import SECOND
from flowkernel.model.policies import QueryRejectCondition, WorkflowExecutionStatus, WorkflowTaskFailedCause
from flowkernel.model.tasks import WorkflowTask

BUG = WorkflowTaskFailedCause.WORKFLOW_WORKER_UNHANDLED_FAILURE


def respond(desk: Desk, task: WorkflowTask, text: str = "fine") -> None:
    assert task.query is not None
    desk.ask(req.RespondQueryTaskCompleted(task.query.query_id, value(text)))


def ended(worker: str = "a") -> Desk:
    """A desk with a run that has closed."""
    desk = Desk()
    desk.run(COMPLETE, worker=worker)
    return desk


def test_the_worker_that_keeps_the_run_is_asked_without_history():
    desk = Desk()
    desk.run()
    other, keeper = desk.poll("b"), desk.poll("a")
    reply = desk.query("state", args=value("x"))
    assert not other.done
    (task,) = keeper.value
    assert (task.token, task.events, task.first_event_id) == (None, (), 0)
    assert (task.query.query_type, task.query.args) == ("state", value("x"))
    respond(desk, task)
    assert reply.value == req.QueryWorkflowResponse(value("fine"))


def test_another_worker_is_asked_with_the_whole_history():
    desk = Desk()
    desk.run(worker="a")
    desk.unregister("a")
    poll = desk.poll("b")
    desk.query()
    desk.commit()
    (task,) = poll.value
    assert kinds(task) == desk.names()
    assert task.first_event_id == 1


def test_31_a_query_writes_nothing():
    desk = Desk()
    desk.run()
    count, names = desk.commits, desk.names()
    poll = desk.poll()
    desk.query()
    respond(desk, poll.value[0])
    assert (desk.commits, desk.names()) == (count, names)


def test_31_without_a_worker_it_gives_up_in_time():
    desk = Desk()
    desk.ask(start())
    reply = desk.query(timeout=5 * SECOND)
    desk.advance(4)
    assert not reply.done
    assert not desk.core.busy, "nobody is at work, so time may be skipped"
    desk.advance(1)
    assert isinstance(reply.error, RPCError)
    assert reply.error.status is RPCStatusCode.DEADLINE_EXCEEDED
    assert str(reply.error) == "query 'state' on 'order': no worker has this workflow's code"
    assert desk.core.next_due() is None


def test_a_worker_that_does_not_answer_is_blamed():
    desk = Desk()
    desk.run()
    poll = desk.poll()
    reply = desk.query()
    assert desk.core.busy
    desk.advance(10)
    assert "the worker did not answer" in str(reply.error)
    respond(desk, poll.value[0])  # too late, and nobody minds


def test_it_waits_for_a_worker_to_have_room():
    desk = Desk()
    desk.run()
    reply = desk.query()
    poll = desk.poll()
    respond(desk, poll.value[0])
    assert reply.done


def test_while_a_task_is_out_it_waits_and_sees_what_came_before_it():
    desk = Desk()
    desk.run()
    first, second = desk.poll(), desk.poll()
    desk.send(signal("x"))
    reply = desk.query()
    assert not second.done
    desk.answer(first.value[0])
    (task,) = second.value
    assert task.query is not None
    assert not reply.done
    respond(desk, task)
    assert "WorkflowExecutionSignaled" in desk.names(), "an answer goes out after what it rests on"
    assert reply.value.result == value("fine")


def test_an_answer_goes_out_after_the_commit_of_what_it_rests_on():
    desk = Desk()
    desk.run()
    first, second = desk.poll(), desk.poll()
    desk.send(signal("x"))
    reply = desk.query()
    desk.answer(first.value[0])
    task = second.value[0]
    desk.send(req.RespondQueryTaskCompleted(task.query.query_id, value("fine")))
    assert not reply.done
    desk.commit()
    assert reply.done


@pytest.mark.parametrize("gone", ["closes while it waits", "had closed"])
def test_31_closed_runs_answer_too(gone):
    desk = Desk()
    if gone == "had closed":
        desk.run(COMPLETE)
        poll = desk.poll()
        reply = desk.query()
    else:
        desk.run()
        first, poll = desk.poll(), desk.poll()
        desk.send(signal("x"))
        reply = desk.query()
        desk.answer(first.value[0], COMPLETE, cached=False)
    desk.commit()
    (task,) = poll.value
    if task.first_event_id:
        assert kinds(task) == desk.names()
    respond(desk, task)
    assert reply.value.result == value("fine")


def test_a_run_that_is_only_in_the_store_answers_too():
    desk = ended().restarted()
    poll = desk.poll()
    reply = desk.query()
    desk.commit()
    assert kinds(poll.value[0]) == desk.names()
    respond(desk, poll.value[0])
    assert reply.done


def test_when_the_worker_goes_another_is_asked():
    desk = Desk()
    desk.run(worker="a")
    poll = desk.poll("a")
    reply = desk.query()
    assert poll.done
    other = desk.poll("b")
    assert not other.done
    desk.unregister("a", lost=True)
    desk.commit()
    respond(desk, other.value[0])
    assert reply.value.result == value("fine")


def test_a_handler_that_fails():
    desk = Desk()
    desk.run()
    poll = desk.poll()
    reply = desk.query()
    failure = Failure("no such handler")
    desk.ask(req.RespondQueryTaskCompleted(poll.value[0].query.query_id, error="no such handler", failure=failure))
    assert isinstance(reply.error, req.QueryFailed)
    assert (reply.error.message, reply.error.failure) == ("no such handler", failure)


def test_code_that_keeps_failing_is_not_asked():
    desk = Desk()
    poll = desk.poll()
    desk.send(start())
    for _ in range(2):
        (task,) = poll.value
        poll = desk.poll()
        desk.send(req.RespondWorkflowTaskFailed(task.token, BUG, Failure("bug")))
        desk.commit()
    reply = desk.query()
    assert isinstance(reply.error, RPCError)
    assert reply.error.status is RPCStatusCode.FAILED_PRECONDITION
    assert str(reply.error) == "Unable to query workflow due to Workflow Task in failed state."


@pytest.mark.parametrize(
    ("condition", "status", "rejected"),
    [
        (QueryRejectCondition.NONE, WorkflowExecutionStatus.FAILED, False),
        (QueryRejectCondition.NOT_OPEN, WorkflowExecutionStatus.RUNNING, False),
        (QueryRejectCondition.NOT_OPEN, WorkflowExecutionStatus.COMPLETED, True),
        (QueryRejectCondition.NOT_COMPLETED_CLEANLY, WorkflowExecutionStatus.RUNNING, False),
        (QueryRejectCondition.NOT_COMPLETED_CLEANLY, WorkflowExecutionStatus.COMPLETED, False),
        (QueryRejectCondition.NOT_COMPLETED_CLEANLY, WorkflowExecutionStatus.TERMINATED, True),
    ],
)
def test_a_query_may_ask_to_be_rejected(condition, status, rejected):
    desk = Desk()
    if status is WorkflowExecutionStatus.COMPLETED:
        desk.run(COMPLETE)
    else:
        desk.run(activity())
        if status is not WorkflowExecutionStatus.RUNNING:
            desk.ask(req.TerminateWorkflowExecution(NAMESPACE, "order"))  # type: ignore[arg-type]
    reply: Reply = desk.query(reject_condition=condition)
    desk.commit()
    if rejected:
        assert reply.value == req.QueryWorkflowResponse(rejected=status)
    else:
        assert not reply.done


def test_an_unknown_run_is_not_found():
    assert isinstance(Desk().query().error, ExecutionNotFound)
