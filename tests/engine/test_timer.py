from __future__ import annotations

import pytest
from engine_rig import COMPLETE, START, started

from flowkernel.model import commands as cmd
from flowkernel.model.ids import SECOND
from flowkernel.model.policies import WorkflowTaskFailedCause as Cause


@pytest.mark.parametrize("seconds", [0, 1, 86_400])
def test_a_timer_fires_on_time(seconds):
    rig = started(cmd.StartTimer("1", seconds * SECOND))
    if seconds:
        assert rig.advance(seconds * SECOND - 1) == []
    assert rig.advance(1) == ["TimerFired", "WorkflowTaskScheduled"]
    assert rig.attributes("TimerFired").started_event_id == rig.names.index("TimerStarted") + 1
    assert rig.history[-1].event_time == START + seconds * SECOND
    assert rig.execution.timers == {}


def test_timers_fire_in_the_order_of_their_times():
    rig = started(cmd.StartTimer("late", 2 * SECOND), cmd.StartTimer("early", SECOND))
    rig.advance(5 * SECOND)
    fired = [event.attributes.timer_id for event in rig.history if event.stored_name == "TimerFired"]
    assert fired == ["early", "late"]
    assert rig.names.count("WorkflowTaskScheduled") == 2  # the first one's, and one for both


def test_a_cancelled_timer_does_not_fire():
    rig = started(cmd.StartTimer("1", 5 * SECOND))
    rig.signal()
    rig.task(cmd.CancelTimer("1"))
    assert rig.names[-1] == "TimerCanceled"
    assert rig.advance(10 * SECOND) == []


def test_an_id_may_be_used_again():
    rig = started(cmd.StartTimer("1", 5 * SECOND))
    rig.signal()
    rig.task(cmd.CancelTimer("1"), cmd.StartTimer("1", 20 * SECOND))
    assert rig.advance(10 * SECOND) == []  # the deadline of the first one
    assert rig.advance(10 * SECOND) == ["TimerFired", "WorkflowTaskScheduled"]


def test_a_timer_that_fires_while_the_code_cancels_it_never_fired():
    rig = started(cmd.StartTimer("1", 5 * SECOND))
    rig.signal()
    rig.take()
    assert rig.advance(6 * SECOND) == ["EventBuffered"]
    before = len(rig.history)
    rig.answer(cmd.CancelTimer("1"))
    assert rig.since(before) == ["WorkflowTaskStarted", "WorkflowTaskCompleted", "TimerCanceled"]
    assert rig.attributes("TimerCanceled").started_event_id == 5
    assert rig.execution.buffered == ()


def test_23_cancelling_a_timer_whose_firing_the_code_has_seen_is_a_bad_command():
    rig = started(cmd.StartTimer("1", 5 * SECOND))
    rig.advance(5 * SECOND)
    rig.task(cmd.CancelTimer("1"))
    assert rig.attributes("WorkflowTaskFailed").cause is Cause.BAD_CANCEL_TIMER_ATTRIBUTES


def test_an_open_timer_does_not_outlive_its_run():
    rig = started(cmd.StartTimer("1", 5 * SECOND))
    rig.signal()
    rig.task(COMPLETE)
    assert rig.execution.timers == {}
    assert rig.advance(10 * SECOND) == []
