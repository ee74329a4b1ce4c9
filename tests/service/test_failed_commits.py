"""A commit that fails undoes everything that hung on it, and nothing else."""

from __future__ import annotations

import pytest
from desk import COMPLETE, NAMESPACE, Desk, activity, signal, start, value

from flowkernel.model import commands as cmd
from flowkernel.model import requests as req
from flowkernel.model.errors import ExecutionNotFound, WriteFailed
from flowkernel.model.ids import SECOND
from flowkernel.model.policies import RetryPolicy


def test_after_a_failed_commit_the_caller_gets_the_error_and_the_service_goes_on():
    desk = Desk()
    poll = desk.poll_activities()
    tasks = desk.poll()
    started = desk.send(start())
    answered = desk.answer(tasks.value[0], activity())
    desk.fail()
    assert isinstance(started.error, WriteFailed)
    assert isinstance(answered.error, WriteFailed)
    assert desk.history() == ()
    assert not desk.core.busy
    assert desk.core.next_due() is None
    with pytest.raises(ExecutionNotFound):
        desk.ask(signal("x"))
    assert not poll.done, "the worker's poll stays open"
    tasks = desk.poll()
    assert desk.ask(start()).started
    desk.answer(tasks.value[0], activity())
    desk.commit()
    assert poll.value[0].activity_id == "1"


def test_a_lost_signal_leaves_no_trace_not_even_in_an_answer_that_saw_it():
    desk = Desk()
    desk.run()
    first, second = desk.poll(), desk.poll()
    lost = desk.send(signal("lost"))
    (saw_lost,) = first.value
    desk.fail()
    assert isinstance(lost.error, WriteFailed)
    desk.send(signal("kept"))
    desk.commit()
    (saw_kept,) = second.value
    # Both tasks have the same ids, and only the second has a history that exists.
    assert (saw_kept.token.scheduled_event_id, saw_kept.token.started_event_id) == (
        saw_lost.token.scheduled_event_id,
        saw_lost.token.started_event_id,
    )
    assert saw_kept.first_event_id == 1
    late = desk.answer(saw_lost, cmd.RecordMarker("lost"))
    desk.commit()
    assert isinstance(late.error, ExecutionNotFound)
    desk.answer(saw_kept, cmd.RecordMarker("kept"))
    desk.commit()
    assert desk.names()[-1] == "MarkerRecorded"
    assert desk.history()[-1].attributes.marker_name == "kept"  # type: ignore[union-attr]
    signals = [e.attributes.signal_name for e in desk.history() if e.stored_name == "WorkflowExecutionSignaled"]  # type: ignore[union-attr]
    assert signals == ["kept"]


def test_what_was_to_fall_due_in_a_lost_future_does_not():
    desk = Desk()
    desk.run()
    first, second = desk.poll(), desk.poll()
    desk.send(signal("x"))
    desk.commit()
    desk.answer(first.value[0], cmd.StartTimer("1", SECOND))
    desk.fail()
    desk.commit()
    desk.answer(second.value[0], cmd.StartTimer("1", 100 * SECOND))  # the same event id, another time
    desk.commit()
    desk.advance(50)
    desk.commit()
    assert desk.names()[-1] == "TimerStarted"
    desk.advance(50)
    desk.commit()
    assert "TimerFired" in desk.names()


def test_a_completion_that_could_not_be_stored_can_be_sent_again():
    desk = Desk()
    task = desk.running()
    reply = desk.send(req.RespondActivityTaskCompleted(task.token, value("done")))
    desk.fail()
    assert isinstance(reply.error, WriteFailed)
    assert desk.ask(req.RespondActivityTaskCompleted(task.token, value("done"))) is None
    assert "ActivityTaskCompleted" in desk.names()


def test_an_attempt_whose_start_could_not_be_stored_begins_as_the_first_one():
    desk = Desk()
    desk.run(activity(retry_policy=RetryPolicy(maximum_attempts=1)))
    poll = desk.poll_activities()
    desk.fail()
    assert not poll.done
    desk.commit()
    assert poll.value[0].attempt == 1


def test_whoever_waits_for_a_run_goes_on_waiting():
    desk = Desk()
    desk.run()
    wait = req.GetWorkflowExecutionHistory(NAMESPACE, "order", wait_new_event=True, close_event_only=True)  # type: ignore[arg-type]
    result = desk.send(wait)
    first, second = desk.poll(), desk.poll()
    desk.send(signal("x"))
    desk.answer(first.value[0], COMPLETE)
    desk.fail()
    assert not result.done
    desk.ask(signal("y"))
    desk.answer(second.value[0], COMPLETE)
    desk.commit()
    assert [event.stored_name for event in result.value.events] == ["WorkflowExecutionCompleted"]


def test_whoever_waits_for_a_run_that_is_no_more_gets_the_error():
    desk = Desk()
    desk.send(start())
    wait = req.GetWorkflowExecutionHistory(NAMESPACE, "order", wait_new_event=True, close_event_only=True)  # type: ignore[arg-type]
    result = desk.send(wait)
    desk.fail()
    assert isinstance(result.error, WriteFailed)


def test_a_query_that_may_have_seen_what_was_lost_gets_the_error():
    desk = Desk()
    desk.run()
    poll = desk.poll()
    desk.send(signal("x"))
    reply = desk.query()
    desk.answer(poll.value[0])
    desk.fail()
    assert isinstance(reply.error, WriteFailed)


def test_other_runs_are_not_touched_by_a_failed_commit():
    desk = Desk()
    desk.run(cmd.StartTimer("1", 5 * SECOND))
    desk.send(start("other"))
    desk.fail()
    desk.advance(5)
    desk.commit()
    assert "TimerFired" in desk.names()


def test_a_run_whose_commit_failed_keeps_what_was_durable():
    desk = Desk()
    task = desk.running(heartbeat_timeout=5 * SECOND)
    desk.send(signal("x"))
    desk.fail()
    assert desk.core.busy, "the attempt runs on"
    desk.advance(5)
    desk.commit()
    with pytest.raises(ExecutionNotFound):
        desk.ask(req.RespondActivityTaskCompleted(task.token))
