from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timeline_histories import RUN, SAMPLES, START, History, application, fan_out, value

from flowkernel.model.events import (
    ActivityTaskCanceled,
    ActivityTaskCancelRequested,
    ActivityTaskTimedOut,
    Event,
    MarkerRecorded,
    TimerCanceled,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionSignaled,
    WorkflowExecutionTerminated,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
    WorkflowTaskTimedOut,
)
from flowkernel.model.failures import Failure, RetryState, TimeoutFailure, TimeoutType
from flowkernel.model.ids import SECOND
from flowkernel.model.policies import WorkflowTaskFailedCause
from flowkernel.model.records import ActivityAttemptReleased, EventBuffered
from flowkernel.timeline import Timeline, TimelineFold, fold
from flowkernel.timeline.model import Bar


def shape(bar: Bar) -> list[tuple[str, str, float, float | None, int]]:
    return [(part.kind, part.state, part.start, part.end, part.attempt) for part in bar.segments]


def step(timeline: Timeline, name: str) -> Bar:
    return next(bar for bar in timeline.bars if bar.name == name and bar.kind != "run")


def test_each_attempt_is_a_segment_with_the_waits_between_them() -> None:
    load = step(SAMPLES["completed"]().timeline(), "load")
    assert shape(load) == [
        ("attempt", "failed", 10.0, 410.0, 1),
        ("backoff", "backing off", 410.0, 1410.0, 1),
        ("attempt", "failed", 1410.0, 1810.0, 2),
        ("backoff", "backing off", 1810.0, 3810.0, 2),
        ("attempt", "completed", 3810.0, 4410.0, 3),
    ]
    assert (load.state, load.attempts, load.max_attempts, load.end) == ("completed", 3, 5, 4410.0)
    assert load.segments[0].problem is not None
    assert load.segments[0].problem.summary == "ConnectionError: connection refused"
    assert load.problem is None
    assert [(line.text, line.attempt) for line in load.output] == [
        ("attempt 1: GET seattle.csv", 1), ("attempt 2: GET seattle.csv", 2), ("1461 rows", 3),
    ]  # fmt: skip


def test_queue_wait_stands_apart_from_execution() -> None:
    clean = step(SAMPLES["running"]().timeline(), "clean")
    assert [part[:2] for part in shape(clean)] == [("queued", "queued"), ("attempt", "running")]
    assert clean.end is None
    assert clean.heartbeat == '{"rows": 1461}'


def test_an_activity_that_backs_off_says_when_it_is_tried_again_and_then_is_queued() -> None:
    history = SAMPLES["running"]()
    assert (step(history.timeline(), "summarise").state, step(history.timeline(), "summarise").due) == ("backing off", 10166.0)
    history.after(60)
    late = step(history.timeline(), "summarise")
    assert late.state == "queued"
    assert shape(late)[-2:] == [("backoff", "backing off", 6166.0, 10166.0, 1), ("queued", "queued", 10166.0, None, 2)]


def test_attempts_of_a_history_without_records_are_drawn_from_the_started_event() -> None:
    history = SAMPLES["completed"]()
    load = step(fold(RUN, history.events, (), history.now), "load")
    assert load.attempts == 3
    assert [part.kind for part in load.segments] == ["backoff", "attempt"]


def test_a_lost_worker_ends_its_attempt_where_the_next_begins() -> None:
    history = History()
    history.task()
    load = history.schedule("load")
    history.begin(load)
    history.after(2).begin(load, 2)
    assert shape(step(history.after(1).timeline(), "load")) == [
        ("attempt", "failed", 0.0, 2000.0, 1), ("attempt", "running", 2000.0, None, 2),
    ]  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_step_by_step_gives_what_all_at_once_gives(name: str) -> None:
    history = SAMPLES[name]()
    folding = TimelineFold(RUN)
    entries = sorted([(event.event_time, 0, event) for event in history.events], key=lambda entry: entry[:2])
    for event_time, _, event in entries:
        folding.view(event_time)
        folding.add([event])
    for record in history.records:
        folding.add((), [record])
        folding.view(record.time)
    assert folding.view(history.now) == history.timeline()


def test_records_may_come_before_the_event_that_they_belong_to() -> None:
    history = SAMPLES["completed"]()
    folding = TimelineFold(RUN)
    folding.add((), history.records)
    folding.add(history.events)
    assert folding.view(history.now).bars == history.timeline().bars


def test_open_bars_grow_and_closed_bars_are_the_same_objects() -> None:
    history = SAMPLES["running"]()
    folding = TimelineFold(RUN)
    folding.add(history.events, history.records)
    first, second = folding.view(history.now), folding.view(history.now + SECOND)
    assert step(first, "load") is step(second, "load")
    assert second.now == first.now + 1000


def test_failures_in_a_row_are_one_mark_and_one_stretch() -> None:
    timeline = SAMPLES["suspended"]().timeline()
    assert timeline.status == "suspended"
    assert timeline.problem is not None
    assert timeline.problem.where == "cell line 3"
    assert [(part.state, part.end) for part in timeline.bars[0].segments] == [("running", 1210.0), ("suspended", None)]
    (mark,) = timeline.marks
    assert (mark.kind, mark.count, mark.at, mark.last_at) == ("task failed", 4, 1210.0, 4210.0)


def test_mended_code_ends_the_suspension_and_is_marked() -> None:
    history = History()
    history.task("v1")
    history.task_fails(application("NameError", "x"), attempts=3)
    history.after(1).task("v2")
    timeline = history.after(1).timeline()
    assert timeline.status == "running"
    assert [part.state for part in timeline.bars[0].segments] == ["suspended", "running"]
    assert [mark.kind for mark in timeline.marks] == ["task failed", "definition"]
    assert timeline.problem is None


def test_an_unhandled_command_is_nobodys_fault() -> None:
    history = History()
    scheduled = history.event(WorkflowTaskScheduled("notebook"))
    started = history.event(WorkflowTaskStarted(scheduled))
    history.event(WorkflowTaskFailed(scheduled, started, WorkflowTaskFailedCause.UNHANDLED_COMMAND))
    timeline = history.timeline()
    assert (timeline.status, timeline.marks) == ("running", ())


def test_a_worker_that_does_not_answer_is_marked_but_does_not_suspend() -> None:
    history = History()
    scheduled = history.event(WorkflowTaskScheduled("notebook"))
    started = history.event(WorkflowTaskStarted(scheduled))
    history.after(10).event(WorkflowTaskTimedOut(scheduled, started))
    timeline = history.timeline()
    assert timeline.status == "running"
    assert [mark.kind for mark in timeline.marks] == ["task timed out"]


def test_what_is_open_when_the_run_ends_is_abandoned() -> None:
    history = History()
    history.task()
    history.begin(history.schedule("load"))
    history.timer(60)
    history.after(3).event(WorkflowExecutionTerminated("wrong file"))
    timeline = history.after(100).timeline()
    assert timeline.duration == 3000.0
    assert [(bar.state, bar.end) for bar in timeline.bars] == [
        ("terminated", 3000.0), ("abandoned", 3000.0), ("abandoned", 3000.0),
    ]  # fmt: skip
    assert timeline.outcome == "Terminated: wrong file"
    assert timeline.waiting == ""


def test_cancelled_timed_out_and_handed_over_steps() -> None:
    history = History()
    history.task()
    first, second, third = history.schedule("first"), history.schedule("second"), history.schedule("third")
    timer = history.timer(9)
    history.begin(first)
    history.begin(third)
    history.records.append(ActivityAttemptReleased(history.now, third, 1))
    history.after(1)
    history.event(ActivityTaskCancelRequested(first))
    history.event(ActivityTaskCanceled(first, 0))
    late = Failure("", TimeoutFailure(TimeoutType.SCHEDULE_TO_START))
    history.event(ActivityTaskTimedOut(second, 0, late, RetryState.TIMEOUT))
    history.event(TimerCanceled("x", timer))
    timeline = history.timeline()
    assert [bar.state for bar in timeline.bars[1:]] == ["canceled", "timed out", "handed over", "canceled"]
    assert step(timeline, "first").cancel_requested
    second_bar = step(timeline, "second")
    assert second_bar.problem is not None
    assert second_bar.problem.summary == "schedule-to-start timeout"
    assert shape(second_bar) == [("queued", "queued", 0.0, 1000.0, 1)]


def test_marks_are_in_order_of_time() -> None:
    history = History()
    history.signal("approve", 1, "x")
    history.after(1).event(WorkflowExecutionCancelRequested("enough"))
    history.after(1).event(MarkerRecorded("core_patch", {"data": (value("new-tax"),)}))
    timeline = history.timeline()
    assert [(mark.kind, mark.label, mark.detail) for mark in timeline.marks] == [
        ("signal", "signal approve", '1, "x"'),
        ("cancel", "cancel requested", "enough"),
        ("patch", "patch", '"new-tax"'),
    ]
    assert (timeline.cancel_requested_at, timeline.cancel_reason) == (1000.0, "enough")


def test_a_held_signal_shows_at_once_and_once() -> None:
    history = History()
    scheduled = history.event(WorkflowTaskScheduled("notebook"))
    history.event(WorkflowTaskStarted(scheduled))
    history.after(1)
    signal = Event(0, history.now, WorkflowExecutionSignaled("approve"))
    history.records.append(EventBuffered(history.now, signal))
    assert [mark.label for mark in history.timeline().marks] == ["signal approve"]
    history.after(1).event(WorkflowTaskTimedOut(scheduled, scheduled + 1))
    history.event(WorkflowExecutionSignaled("approve"))
    assert [mark.label for mark in history.timeline().marks if mark.kind == "signal"] == ["signal approve"]


def test_output_joins_pieces_keeps_the_last_state_of_a_progress_bar_and_forgets_the_beginning() -> None:
    history = History()
    history.task()
    load = history.schedule("load")
    history.begin(load)
    history.prints(load, "".join(f"line {index}\n" for index in range(30)))
    history.prints(load, "10 %\r")
    history.prints(load, "20 %\r90 %")
    history.prints(load, "\nwarning\n", "stderr")
    bar = step(history.timeline(), "load")
    assert len(bar.output) == 20
    assert bar.output_omitted == 13
    assert [(line.stream, line.text) for line in bar.output[-3:]] == [("stdout", "90 %"), ("stderr", ""), ("stderr", "warning")]


def test_the_view_model_survives_json_and_its_numbers_fit_javascript() -> None:
    for make in SAMPLES.values():
        timeline = make().timeline()
        assert msgspec.json.decode(msgspec.json.encode(timeline), type=Timeline) == timeline
        assert timeline.start_time == START / 1e6 < 2**53


def test_a_thousand_events_fold_in_milliseconds() -> None:
    history = fan_out(330)
    assert len(history.events) >= 1000
    best = min(_timed(history) for _ in range(5))
    assert best < 0.05  # measured 6 ms; wide enough for a busy machine, far from quadratic


def _timed(history: History) -> float:
    began = time.perf_counter()
    history.timeline()
    return time.perf_counter() - began


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Any valid order of starts, failures, ends, signals, timers and broken code."""
    history = History("any", "input")
    history.task()
    pending: dict[int, int] = {}
    timers: list[int] = []
    for _ in range(draw(st.integers(0, 25))):
        # The machine's clock may also go back.
        history.at = max(history.at + draw(st.sampled_from([0.0, 0.001, 0.5, 3.0, -0.2])), 0.0)
        action = draw(st.sampled_from(["schedule", "begin", "fail", "end", "timer", "fire", "signal", "break", "task"]))
        if action == "schedule":
            pending[history.schedule(draw(st.sampled_from(["a", "b"])), maximum=3)] = 0
        elif action == "timer":
            timers.append(history.timer(draw(st.floats(0.001, 100))))
        elif action == "fire" and timers:
            history.fire(timers.pop())
        elif action == "signal":
            history.signal("s")
        elif action == "break":
            history.task_fails(application("KeyError", "k"), attempts=draw(st.integers(1, 3)))
        elif action == "task":
            history.task()
        elif pending:
            scheduled = draw(st.sampled_from(sorted(pending)))
            if action == "begin":
                pending[scheduled] += 1
                history.begin(scheduled, pending[scheduled])
            elif action == "fail" and pending[scheduled]:
                history.fails_once(scheduled, pending[scheduled], application("E", "e"), draw(st.sampled_from([0.0, 1.0, 50.0])))
            elif action == "end" and pending[scheduled]:
                history.complete(scheduled, None, pending.pop(scheduled))
    if draw(st.booleans()):
        history.done("result")
    return history


@settings(max_examples=60, deadline=None)
@given(histories(), st.data())
def test_any_prefix_folds_and_its_times_are_in_order(history: History, data: st.DataObject) -> None:
    events = history.events[: data.draw(st.integers(0, len(history.events)))]
    records = history.records[: data.draw(st.integers(0, len(history.records)))]
    timeline = fold(RUN, events, records, START + data.draw(st.integers(0, 100)) * SECOND)
    assert timeline.version == 1
    assert bool(timeline.waiting) != bool(timeline.outcome)
    for bar in timeline.bars:
        assert bar.segments
        assert 0 <= bar.start <= (timeline.now if bar.end is None else bar.end)
        cursor = bar.start
        for index, part in enumerate(bar.segments):
            assert part.start == cursor, (bar.segments, part)
            assert part.end is None or part.end >= part.start
            assert part.end is not None or index == len(bar.segments) - 1
            cursor = part.start if part.end is None else part.end
        assert bar.segments[-1].end == bar.end
    assert [mark.at for mark in timeline.marks] == sorted(mark.at for mark in timeline.marks)
