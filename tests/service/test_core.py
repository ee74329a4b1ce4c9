"""The core: what goes out when, and who has which task."""

from __future__ import annotations

import pytest
from desk import COMPLETE, NAMESPACE, QUEUE, Desk, Reply, activity, kinds, signal, start
from programs import ONE_AT_A_TIME
from simulation import Simulation

from flowkernel.model import commands as cmd
from flowkernel.model import requests as req
from flowkernel.model.errors import ExecutionAlreadyStarted, ExecutionNotFound, InvalidRequest, RPCError, WriteFailed
from flowkernel.model.failures import ApplicationFailure, Failure
from flowkernel.model.ids import SECOND
from flowkernel.model.policies import RetryPolicy
from flowkernel.model.policies import WorkflowTaskFailedCause as Cause

FIRST = ["WorkflowExecutionStarted", "WorkflowTaskScheduled", "WorkflowTaskStarted"]
BUG = Cause.WORKFLOW_WORKER_UNHANDLED_FAILURE


# --- commit, then act -------------------------------------------------------------------------------------------------


def test_replies_and_activity_tasks_wait_for_the_commit_and_workflow_tasks_do_not():
    desk = Desk()
    workflow_tasks, activity_tasks = desk.poll(), desk.poll_activities()
    started = desk.send(start())
    assert workflow_tasks.done
    assert not started.done
    answered = desk.answer(workflow_tasks.value[0], activity())
    assert not answered.done
    assert not activity_tasks.done
    desk.commit()
    assert started.value == req.StartWorkflowExecutionResponse("run-1", True)  # type: ignore[arg-type]
    assert answered.done
    assert activity_tasks.value[0].activity_id == "1"
    assert desk.commits == 1


def test_a_batch_waits_for_answers_that_belong_into_it_and_no_longer_than_for_those():
    desk = Desk()
    assert not desk.core.ripe
    poll = desk.poll()
    desk.send(start())
    assert desk.core.pending
    assert not desk.core.ripe
    desk.answer(poll.value[0])
    assert desk.core.ripe
    desk.commit()
    desk.poll()
    desk.send(signal("a"))
    assert not desk.core.ripe
    desk.send(start("other"))  # nobody works on this one
    assert desk.core.ripe


def test_a_sequential_step_costs_one_commit():
    assert Simulation(ONE_AT_A_TIME["sequential"]).run().commits == 1 + 4
    assert Simulation(ONE_AT_A_TIME["immediate"]).run().commits == 1 + 3


def test_a_refusal_waits_for_the_commit_on_which_it_rests():
    desk = Desk()
    desk.run()
    poll = desk.poll()
    desk.send(signal("a"))
    desk.answer(poll.value[0], COMPLETE)
    late = desk.send(signal("b"))
    assert not late.done, "the end of the run is not durable yet"
    desk.fail()
    assert isinstance(late.error, WriteFailed)
    assert desk.ask(signal("b")) is None


def test_a_refused_second_start_waits_for_the_first():
    desk = Desk()
    desk.send(start())
    second = desk.send(start())
    assert not second.done
    desk.commit()
    assert isinstance(second.error, ExecutionAlreadyStarted)
    assert second.error.run_id == "run-1"


# --- late answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("committed", [True, False])
def test_late_answers_for_a_closed_run_never_reach_the_store(committed):
    desk = Desk()
    task = desk.running(heartbeat_timeout=5 * SECOND)
    poll = desk.poll()
    desk.send(signal("stop"))
    (workflow_task,) = poll.value
    desk.send(req.TerminateWorkflowExecution(NAMESPACE, "order"))  # type: ignore[arg-type]
    if committed:
        desk.commit()
    failure = Failure("x")
    late = [
        desk.send(request)
        for request in (
            req.RespondActivityTaskCompleted(task.token),
            req.RespondActivityTaskFailed(task.token, failure),
            req.RespondActivityTaskCanceled(task.token),
            req.RecordActivityTaskHeartbeat(task.token, output=(req.Output(desk.now, "stdout", "x"),)),
            req.RecordActivityTaskOutput(task.token, (req.Output(desk.now, "stdout", "x"),)),
            req.ReleaseActivityTask(task.token),
            req.RespondActivityTaskCompleted(req.ActivityAddress(NAMESPACE, "order", "", "1")),  # type: ignore[arg-type]
            req.RespondWorkflowTaskCompleted(workflow_task.token, (COMPLETE,), "a"),  # type: ignore[arg-type]
            req.RespondWorkflowTaskFailed(workflow_task.token, BUG, failure),  # type: ignore[arg-type]
        )
    ]
    desk.commit()
    assert desk.names()[-1] == "WorkflowExecutionTerminated"
    for reply in late:
        assert isinstance(reply.error, ExecutionNotFound)
        assert reply.error.closed
    count = desk.commits
    desk.advance(1000)
    desk.unregister(lost=True)
    desk.commit()
    assert desk.commits == count


def test_nothing_keeps_the_clock_busy_once_a_run_has_ended():
    desk = Desk()
    desk.running()
    assert desk.core.busy
    desk.ask(req.TerminateWorkflowExecution(NAMESPACE, "order"))  # type: ignore[arg-type]
    assert not desk.core.busy


# --- workers ----------------------------------------------------------------------------------------------------------


def test_a_worker_that_keeps_a_run_gets_only_what_is_new_and_another_gets_everything():
    desk = Desk()
    desk.run()
    first = desk.poll("a")
    desk.send(signal("one"))
    (task,) = first.value
    assert task.first_event_id == 4
    assert kinds(task) == [
        "WorkflowTaskCompleted",
        "WorkflowExecutionSignaled",
        "WorkflowTaskScheduled",
        "WorkflowTaskStarted",
    ]
    desk.answer(task)
    desk.commit()
    other = desk.poll("b")
    desk.send(signal("two"))
    assert not other.done, "a history that is only in the store goes out after the commit"
    desk.commit()
    (task,) = other.value
    assert task.first_event_id == 1
    assert [event.event_id for event in task.events] == list(range(1, len(desk.names()) + 2))


def test_the_worker_that_keeps_a_run_is_preferred():
    desk = Desk()
    desk.run(worker="b")
    first, second = desk.poll("a"), desk.poll("b")
    desk.send(signal("x"))
    assert second.done
    assert not first.done


def test_an_answer_that_is_not_kept_makes_the_next_task_whole():
    desk = Desk()
    poll = desk.poll()
    desk.send(start())
    desk.answer(poll.value[0], cached=False)
    poll = desk.poll()
    desk.send(signal("x"))
    desk.commit()
    assert poll.value[0].first_event_id == 1


@pytest.mark.parametrize("kind", ["fails", "breaks a rule"])
def test_after_a_failed_task_the_worker_gets_everything_again(kind):
    desk = Desk()
    desk.run()
    first, second = desk.poll(), desk.poll()
    desk.send(signal("x"))
    (task,) = first.value
    if kind == "fails":
        reply = desk.send(req.RespondWorkflowTaskFailed(task.token, BUG, Failure("bug"), "a"))
    else:
        reply = desk.answer(task, cmd.CancelTimer("none"))
    desk.commit()
    assert isinstance(reply.error, InvalidRequest) is (kind == "breaks a rule")
    assert second.value[0].first_event_id == 1
    assert second.value[0].attempt == 2


def test_polls_wait_for_tasks_and_tasks_for_polls():
    desk = Desk()
    desk.ask(start("one"))
    desk.ask(start("two"))
    poll = desk.poll(count=5)
    assert [task.run.workflow_id for task in poll.value] == ["one", "two"]
    other = desk.poll()
    assert not other.done
    desk.send(start("three"))
    assert [task.run.workflow_id for task in other.value] == ["three"]


def test_a_worker_gets_only_the_types_it_runs_and_may_change_them():
    desk = Desk()
    desk.ask(start())
    poll = desk.poll(types=frozenset({"Other"}))
    assert not poll.done
    changed = desk.poll(count=0, types=frozenset({"Other", "Order"}))
    assert changed.value == ()
    assert len(poll.value) == 1


def test_activities_go_by_type_too():
    desk = Desk()
    other = desk.poll_activities("a", types=frozenset({"other"}))
    right = desk.poll_activities("b", types=frozenset({"work"}))
    desk.run(activity())
    assert not other.done
    assert right.value[0].activity_type == "work"


def test_a_worker_that_unregisters_gets_no_more_and_gives_back_what_it_has():
    desk = Desk()
    desk.run()
    waiting = desk.poll()
    desk.send(signal("x"))
    (task,) = waiting.value
    polls = [desk.poll(), desk.poll_activities()]
    desk.unregister()
    desk.commit()
    assert [poll.value for poll in polls] == [(), ()]
    other = desk.poll("b")
    desk.commit()
    assert other.value[0].first_event_id == 1
    late = desk.answer(task, COMPLETE)
    desk.commit()
    assert isinstance(late.error, ExecutionNotFound), "its lease went to another worker"
    desk.answer(other.value[0], COMPLETE, worker="b")
    desk.commit()
    assert desk.names()[-1] == "WorkflowExecutionCompleted"


def test_attempts_of_a_lost_worker_go_to_another_and_never_back_to_it():
    desk = Desk()
    desk.running("a")
    own, other = desk.poll_activities("a"), desk.poll_activities("b")
    desk.unregister("a", lost=True)
    desk.commit()
    assert own.value == ()
    assert other.value[0].attempt == 2


def test_attempts_of_a_worker_that_leaves_in_order_go_on():
    desk = Desk()
    task = desk.running("a")
    other = desk.poll_activities("b")
    desk.unregister("a")
    desk.commit()
    assert not other.done
    assert desk.ask(req.RespondActivityTaskCompleted(task.token)) is None


def test_a_poll_that_comes_after_its_worker_unregistered_gets_nothing():
    desk = Desk()
    desk.run(activity())
    desk.unregister("a")
    late = [desk.poll("a"), desk.poll_activities("a")]
    assert [reply.value for reply in late] == [(), ()]
    tasks, activities = desk.poll("b"), desk.poll_activities("b")
    desk.send(signal("x"))
    desk.commit()
    assert tasks.done
    assert activities.done
    assert not desk.core.leasing.workflow_tasks.queue(NAMESPACE, QUEUE).workers - {"b"}


def test_an_attempt_that_is_on_its_way_while_its_worker_unregisters_still_arrives():
    desk = Desk()
    desk.run(activity(retry_policy=RetryPolicy(maximum_attempts=1)))
    polled, left = Reply(), Reply()
    # Both in one turn of the service, with nothing handed out in between.
    desk.core.handle(req.PollActivityTasks(NAMESPACE, QUEUE, "a"), polled, desk.now)
    desk.core.handle(req.UnregisterWorker("a"), left, desk.now)
    desk.core.hand_out()
    desk.commit()
    assert left.done
    (task,) = polled.value
    assert desk.ask(req.RespondActivityTaskCompleted(task.token)) is None


def test_an_attempt_that_follows_at_once_can_be_lost_too():
    desk = Desk()
    task = desk.running("a")
    again = desk.poll_activities("a")
    failure = Failure("x", ApplicationFailure("X", next_retry_delay=0))
    desk.ask(req.RespondActivityTaskFailed(task.token, failure))
    assert again.value[0].attempt == 2
    assert desk.core.busy
    other = desk.poll_activities("b")
    desk.unregister("a", lost=True)
    desk.commit()
    assert other.value[0].attempt == 3


def test_a_poll_whose_task_is_no_longer_wanted_stays_open():
    desk = Desk()
    desk.run()
    desk.unregister("a")
    poll = desk.poll("b")
    reply = req.SignalWorkflowExecution(NAMESPACE, "order", "x")  # type: ignore[arg-type]
    desk.core.handle(reply, lambda *_: None, desk.now)
    desk.core.handle(req.TerminateWorkflowExecution(NAMESPACE, "order"), lambda *_: None, desk.now)  # type: ignore[arg-type]
    desk.core.hand_out()
    desk.commit()
    assert not poll.done
    desk.send(start("next"))
    assert poll.value[0].run.workflow_id == "next"


def test_waking_concerns_suspended_runs_of_these_types_in_this_queue_and_namespace():
    desk = Desk()
    poll = desk.poll()
    desk.send(start())
    for _ in range(2):
        (task,) = poll.value
        poll = desk.poll()
        desk.send(req.RespondWorkflowTaskFailed(task.token, BUG, Failure("bug")))
        desk.commit()
    assert not poll.done
    types = frozenset({"Order"})
    assert desk.ask(req.WakeWorkflowTasks("elsewhere", QUEUE, types)) == 0
    assert desk.ask(req.WakeWorkflowTasks(NAMESPACE, "other", types)) == 0
    assert desk.ask(req.WakeWorkflowTasks(NAMESPACE, QUEUE, frozenset({"Other"}))) == 0
    assert desk.ask(req.WakeWorkflowTasks(NAMESPACE, QUEUE, types)) == 1
    assert poll.value[0].attempt == 3


def test_code_that_was_mended_while_the_old_one_was_failing_is_tried_at_once():
    desk = Desk()
    first, second, third = desk.poll(), desk.poll(), desk.poll()
    desk.send(start())
    desk.send(req.RespondWorkflowTaskFailed(first.value[0].token, BUG, Failure("bug")))
    desk.commit()
    (task,) = second.value
    assert desk.ask(req.WakeWorkflowTasks(NAMESPACE, QUEUE, frozenset({"Order"}))) == 0
    desk.send(req.RespondWorkflowTaskFailed(task.token, BUG, Failure("bug")))
    assert third.value[0].attempt == 3
    last = desk.poll()
    desk.send(req.RespondWorkflowTaskFailed(third.value[0].token, BUG, Failure("another bug")))
    desk.commit()
    assert not last.done, "the new code fails too, so there is a pause again"


def test_a_heartbeat_tells_of_a_requested_cancellation():
    desk = Desk()
    task = desk.running()
    heartbeat = req.RecordActivityTaskHeartbeat(task.token)
    assert desk.ask(heartbeat) == req.RecordActivityTaskHeartbeatResponse(False)
    poll = desk.poll()
    desk.send(signal("stop"))
    desk.answer(poll.value[0], cmd.RequestCancelActivityTask(5))
    assert desk.ask(heartbeat) == req.RecordActivityTaskHeartbeatResponse(True)


# --- the end of the service -------------------------------------------------------------------------------------------


def test_the_end_answers_everybody_once():
    desk = Desk()
    desk.run()
    wait = req.GetWorkflowExecutionHistory(NAMESPACE, "order", wait_new_event=True, close_event_only=True)  # type: ignore[arg-type]
    waiting = desk.send(wait)
    polls = [desk.poll("b"), desk.poll_activities("b")]
    started = desk.send(start("other"))
    query = desk.send(req.QueryWorkflow(NAMESPACE, "other", "state"))  # type: ignore[arg-type]
    error = RPCError("closed", 14)  # type: ignore[arg-type]
    desk.core.refuse_all(error)
    assert [reply.error for reply in (waiting, started, query)] == [error, error, error]
    assert polls[1].value == ()
    assert polls[0].done
