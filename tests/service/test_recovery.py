"""What a new process makes of what the last one left."""

from __future__ import annotations

from desk import START, Desk, activity, signal

from flowkernel.model import requests as req
from flowkernel.model.ids import SECOND


def test_recovery_gives_buffered_events_their_place():
    desk = Desk()
    desk.run()
    desk.poll()
    desk.send(signal("one"))
    desk.commit()
    desk.ask(signal("two"))
    again = desk.restarted()
    again.commit()
    assert again.recovered == 1
    assert again.names()[-3:] == ["WorkflowExecutionSignaled", "WorkflowTaskScheduled", "WorkflowExecutionSignaled"]


def test_time_does_not_go_back_over_a_restart():
    desk = Desk()
    task = desk.running(heartbeat_timeout=50 * SECOND)
    desk.now += 20 * SECOND
    desk.ask(req.RecordActivityTaskHeartbeat(task.token))
    again = desk.restarted(now=START)  # a clock that was set back
    assert again.core.now == START + 20 * SECOND


def test_a_run_whose_time_ran_out_meanwhile_times_out_before_anything_else_happens_to_it():
    desk = Desk()
    poll = desk.poll_activities()
    desk.run(activity(), run_timeout=100 * SECOND)
    assert poll.done
    again = desk.restarted(now=START + 1000 * SECOND)
    again.commit()
    assert again.names()[-2:] == ["ActivityTaskScheduled", "WorkflowExecutionTimedOut"]
