from __future__ import annotations

from typing import Any

import pytest

from flowkernel.api import Change
from flowkernel.model.events import (
    ActivityTaskScheduled,
    Event,
    TimerStarted,
    WorkflowExecutionCompleted,
    WorkflowExecutionStarted,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
)
from flowkernel.model.failures import Failure
from flowkernel.model.ids import SECOND, RunId, RunRef, WorkflowId
from flowkernel.model.policies import WorkflowTaskFailedCause
from flowkernel.model.records import ActivityAttemptStarted, WorkflowTaskAttemptFailed
from flowkernel.notebook.board import PACE, Board, is_stuck
from flowkernel.notebook.publisher import Publisher
from flowkernel.timeline import MIME_TYPE

RUN = RunRef("default", WorkflowId("weather"), RunId("r1"))
START = 1_800_000_000 * SECOND


def event(number: int, attributes: Any, at: float = 0.0) -> Event:
    return Event(number, START + int(at * SECOND), attributes)


BEGUN = (
    event(1, WorkflowExecutionStarted("weather", WorkflowId("weather"), "q")),
    event(2, WorkflowTaskScheduled("q")),
    event(3, WorkflowTaskStarted(2)),
)
DONE = event(4, WorkflowTaskCompleted(2, 3))
CLOSED = event(5, WorkflowExecutionCompleted(), 1.0)
FAILED = event(4, WorkflowTaskFailed(2, 3, WorkflowTaskFailedCause.WORKFLOW_WORKER_UNHANDLED_FAILURE, Failure("KeyError: 'x'")))
FAILED_AGAIN = WorkflowTaskAttemptFailed(
    START + 2, 2, WorkflowTaskFailedCause.WORKFLOW_WORKER_UNHANDLED_FAILURE, Failure("KeyError: 'x'"), START + 10 * SECOND
)
ACTIVITY = event(5, ActivityTaskScheduled("1", "load", "q"))
ATTEMPT = ActivityAttemptStarted(START, 5, 1)


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds

    @property
    def now(self) -> int:
        return START + int((self.seconds - 100) * SECOND)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def shown(clock: Clock, *events: Event, records: tuple[Any, ...] = ()) -> Board:
    board = Board()
    assert board.expect(RUN)
    board.begin(RUN, events, records)
    board.display(RUN, "d1", clock, clock.now)
    return board


def test_the_first_picture_is_the_caller_s_and_then_only_changes_are_drawn(clock: Clock) -> None:
    board = shown(clock, *BEGUN, DONE)
    assert board.display(RUN, "d2", clock, clock.now).status == "running"
    clock.seconds += 1000
    assert board.pictures(clock, clock.now) == ()
    assert board.next_due() == float("inf")
    board.hear([Change(RUN, (CLOSED,), ())])
    (picture,) = board.pictures(clock, clock.now)
    assert (picture.timeline.workflow_id, picture.timeline.status) == ("weather", "completed")
    assert picture.display_ids == ("d1", "d2")


def test_at_most_ten_pictures_a_second_and_the_last_state_always(clock: Clock) -> None:
    board = shown(clock, *BEGUN)
    clock.seconds += PACE / 2
    assert board.hear([Change(RUN, (DONE,), ())])
    assert board.pictures(clock, clock.now) == ()
    assert board.next_due() == pytest.approx(100 + PACE)
    clock.seconds += PACE / 2
    (picture,) = board.pictures(clock, clock.now)
    assert picture.timeline.history_length == 4


def test_everything_draws_what_has_changed_before_its_time(clock: Clock) -> None:
    board = shown(clock, *BEGUN)
    assert board.pictures(clock, clock.now, everything=True) == ()
    board.hear([Change(RUN, (DONE,), ())])
    assert len(board.pictures(clock, clock.now, everything=True)) == 1


def test_failing_code_is_drawn_at_once(clock: Clock) -> None:
    board = shown(clock, *BEGUN)
    board.hear([Change(RUN, (FAILED,), ())])
    (picture,) = board.pictures(clock, clock.now)
    assert picture.timeline.status == "suspended"
    assert not is_stuck(picture.timeline)
    board.hear([Change(RUN, (), (FAILED_AGAIN,))])
    (picture,) = board.pictures(clock, clock.now)
    assert is_stuck(picture.timeline)
    assert board.settled(clock.now)


def test_a_running_activity_grows_about_once_a_second(clock: Clock) -> None:
    board = shown(clock, *BEGUN, DONE, ACTIVITY, records=(ATTEMPT,))
    assert board.next_due() == pytest.approx(101)
    clock.seconds = 100 + 3600
    board.pictures(clock, clock.now)
    assert board.next_due() == pytest.approx(clock.seconds + 10)


def test_a_timer_grows_ever_more_slowly(clock: Clock) -> None:
    board = shown(clock, *BEGUN, DONE, event(5, TimerStarted("1", 30 * 86_400 * SECOND)))
    assert board.next_due() == pytest.approx(101)
    clock.seconds = 100 + 86_400
    board.pictures(clock, clock.now)
    assert board.next_due() == pytest.approx(clock.seconds + 60)


def test_a_closed_run_is_drawn_one_last_time(clock: Clock) -> None:
    board = shown(clock, *BEGUN, DONE)
    assert not board.settled(clock.now)
    board.hear([Change(RUN, (CLOSED,), ())])
    clock.seconds += 1
    (picture,) = board.pictures(clock, clock.now)
    assert picture.timeline.status == "completed"
    assert board.settled(clock.now)
    clock.seconds += 1
    assert board.pictures(clock, clock.now, everything=True) == ()
    assert board.next_due() == float("inf")


def test_what_history_and_commits_both_tell_is_taken_once(clock: Clock) -> None:
    board = Board()
    board.expect(RUN)
    assert board.hear([Change(RUN, (DONE, ACTIVITY), (ATTEMPT,))])
    board.begin(RUN, (*BEGUN, DONE, ACTIVITY), (ATTEMPT,))
    view = board.view(RUN, clock.now)
    assert view.history_length == 5
    assert [(bar.label, bar.attempts) for bar in view.bars if bar.kind == "activity"] == [("load", 1)]


def test_commits_before_the_history_is_read_are_kept(clock: Clock) -> None:
    board = Board()
    board.expect(RUN)
    board.hear([Change(RUN, (DONE,), ()), Change(RUN, (CLOSED,), ())])
    board.begin(RUN, BEGUN, ())
    assert board.view(RUN, clock.now).status == "completed"


def test_other_runs_do_not_matter(clock: Clock) -> None:
    board = shown(clock, *BEGUN)
    other = RunRef("default", WorkflowId("other"), RunId("r2"))
    assert not board.hear([Change(other, BEGUN, ())])
    assert board.runs() == (RUN,)
    assert not board.expect(RUN)


class Screen:
    """What was put on it: display id, whether as an update, status."""

    def __init__(self) -> None:
        self.put: list[tuple[str, bool, str]] = []
        self.broken = False

    def __call__(self, bundle: Any, display_id: str, update: bool) -> None:
        if self.broken:
            raise OSError("gone")
        self.put.append((display_id, update, bundle[MIME_TYPE]["status"]))


def test_the_publisher_displays_first_and_updates_later(clock: Clock) -> None:
    screen = Screen()
    publisher = Publisher(screen, live=False, clock=clock, now=lambda: clock.now)
    publisher.board.expect(RUN)
    publisher.board.begin(RUN, BEGUN, ())
    publisher.show(RUN, "d1")
    assert screen.put == [("d1", False, "running")]
    publisher.board.display(RUN, "d1", clock, clock.now)
    publisher.hear([Change(RUN, (DONE, CLOSED), ())])
    publisher.flush()
    publisher.flush()
    assert screen.put == [("d1", False, "running"), ("d1", True, "completed")]


def test_a_terminal_gets_no_updates(clock: Clock) -> None:
    screen = Screen()
    publisher = Publisher(screen, live=False, clock=clock, now=lambda: clock.now)
    publisher.board.expect(RUN)
    publisher.board.begin(RUN, BEGUN, ())
    publisher.show(RUN, "d1")
    publisher.hear([Change(RUN, (DONE, CLOSED), ())])
    publisher.flush()
    assert screen.put == [("d1", False, "running")]


def test_the_thread_draws_by_itself_and_ends_with_close() -> None:
    import threading
    import time

    seen = threading.Event()

    def publish(bundle: Any, _display_id: str, _update: bool) -> None:
        if bundle[MIME_TYPE]["status"] == "completed":
            seen.set()

    publisher = Publisher(publish, clock=time.monotonic, now=time.time_ns)
    publisher.board.expect(RUN)
    publisher.board.begin(RUN, BEGUN, ())
    publisher.show(RUN, "d1")
    publisher.hear([Change(RUN, (DONE, CLOSED), ())])
    assert seen.wait(10)
    publisher.close(10)
    assert not [thread for thread in threading.enumerate() if thread.name == "flowkernel-publisher"]


def test_a_broken_screen_does_not_end_the_drawing(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    screen = Screen()
    publisher = Publisher(screen, live=False, clock=clock, now=lambda: clock.now)
    publisher.board.expect(RUN)
    publisher.board.begin(RUN, BEGUN, ())
    publisher.board.display(RUN, "d1", clock, clock.now)
    publisher.hear([Change(RUN, (DONE,), ())])
    screen.broken = True
    publisher.flush()
    assert "could not draw the timeline of weather" in caplog.text


def test_waiting_ends_with_the_commit_it_waits_for(clock: Clock) -> None:
    import threading

    publisher = Publisher(Screen(), live=False, clock=clock, now=lambda: clock.now)
    publisher.board.expect(RUN)
    publisher.board.begin(RUN, BEGUN, ())
    assert not publisher.wait_until(lambda: publisher.board.settled(clock.now), 0)
    thread = threading.Thread(target=publisher.hear, args=([Change(RUN, (DONE, CLOSED), ())],))
    thread.start()
    assert publisher.wait_until(lambda: publisher.board.settled(clock.now), None)
    thread.join()


def test_what_old_code_did_says_nothing_about_new_code() -> None:
    board = Board()
    board.expect(RUN)
    board.begin(RUN, (*BEGUN, FAILED), (FAILED_AGAIN,))
    now = START + SECOND
    assert board.is_stuck(RUN, now)
    assert board.settled(now)
    board.renew("another", now)
    assert board.settled(now)
    board.renew("weather", now)
    assert not board.is_stuck(RUN, now)
    assert not board.settled(now)
    board.hear([Change(RUN, (), (FAILED_AGAIN,))])
    assert board.settled(now), "the new code fails as well"
