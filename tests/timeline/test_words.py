from __future__ import annotations

import pytest
from timeline_histories import SAMPLES, START, History, application

from flowkernel.model.events import ActivityTaskCancelRequested, WorkflowExecutionCancelRequested, WorkflowTaskScheduled
from flowkernel.model.ids import SECOND
from flowkernel.timeline.words import duration_words


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (0, "0 s"), (0.4, "0.4 ms"), (9.96, "10 ms"), (340, "340 ms"), (999.6, "1 s"), (3_210, "3.2 s"), (59_960, "1 min"),
        (125_000, "2 min 5 s"), (3_599_600, "1 h"), (12_000_000, "3 h 20 min"), (86_399_000, "1 d"), (187_200_000, "2 d 4 h"),
        (-5, "0 s"),
    ],
)  # fmt: skip
def test_durations(milliseconds: float, words: str) -> None:
    assert duration_words(milliseconds) == words


def begun() -> History:
    history = History("weather", task_queue="gpu")
    history.task()
    return history


def test_one_running_activity() -> None:
    history = begun()
    load = history.schedule("load", maximum=3)
    history.begin(load)
    history.after(1).fails_once(load, 1, application("OSError", "gone"), 1)
    history.after(1).begin(load, 2)
    assert history.after(3.2).timeline().waiting == "Waiting for activity load, running for 3.2 s, attempt 2 of 3."


def test_an_activity_that_backs_off() -> None:
    history = begun()
    load = history.schedule("load", maximum=3)
    history.begin(load)
    history.fails_once(load, 1, application("OSError", "gone"), 5)
    assert history.after(1).timeline().waiting == (
        "Waiting for activity load, backing off 4 s before attempt 2 of 3 because of “OSError: gone”."
    )


def test_an_activity_that_no_worker_took_and_one_that_was_asked_to_cancel() -> None:
    history = begun()
    history.schedule("train", queue="gpu")
    load = history.schedule("load")
    history.begin(load)
    history.event(ActivityTaskCancelRequested(load))
    assert history.after(4).timeline().waiting == (
        "Waiting for activity train, queued for 4 s on task queue “gpu”; activity load, running for 4 s, asked to cancel."
    )


def test_many_activities_are_counted_and_the_timer_is_not_forgotten() -> None:
    history = begun()
    ids = [history.schedule("fetch") for _ in range(5)] + [history.schedule("parse")]
    for scheduled in ids[:4]:
        history.begin(scheduled)
    history.begin(ids[5])
    history.fails_once(ids[5], 1, application("ValueError", "empty"), 9)
    history.timer(3)
    assert history.after(1.8).timeline().waiting == (
        "Waiting for 4 running activities (fetch ×4); 1 queued activity (fetch); "
        "1 backing-off activity (parse), the next attempt in 7.2 s because of “ValueError: empty”; a timer that fires in 1.2 s."
    )


def test_a_named_timer_and_one_that_is_due() -> None:
    history = begun()
    history.timer(60, "cool down")
    assert history.timeline().waiting == "Waiting for timer “cool down”, which fires in 1 min."
    assert history.after(61).timeline().waiting == "Waiting for timer “cool down”, which fires now."


def test_nothing_but_a_signal_can_help() -> None:
    assert SAMPLES["signal"]().timeline().waiting == "Waiting for a signal: no activity and no timer is pending."
    history = History("approval", run_timeout=90 * SECOND)
    history.task()
    assert history.after(30).timeline().waiting == (
        "Waiting for a signal: no activity and no timer is pending; the run times out in 1 min."
    )


def test_code_that_fails() -> None:
    assert SAMPLES["suspended"]().timeline().waiting == (
        "The workflow's code is failing: NameError: name 'clean' is not defined, at cell line 3 "
        "(tried 4 times, next try in 7.5 s). Fix the code and run its cell again."
    )


@pytest.mark.parametrize(
    ("has_worker", "seconds", "sentence"),
    [
        (None, 0.1, "The workflow's code is about to run."),
        (None, 5, "The workflow's code has had something to do for 5 s, but no worker of “gpu” has answered."),
        (
            False,
            0.1,
            "No worker has this workflow's code: run the cell that defines weather, or start a worker on task queue “gpu”.",
        ),
    ],
)
def test_code_that_nobody_runs(has_worker: bool | None, seconds: float, sentence: str) -> None:
    history = History("weather", task_queue="gpu")
    history.event(WorkflowTaskScheduled("gpu"))
    assert history.after(seconds).timeline(has_worker=has_worker).waiting == sentence


def test_a_missing_worker_is_told_beside_what_is_pending() -> None:
    history = begun()
    history.timer(60)
    assert history.timeline(has_worker=False).waiting == (
        "Waiting for a timer that fires in 1 min. No worker has this workflow's code to go on with."
    )


def test_a_requested_cancellation_comes_first() -> None:
    history = begun()
    history.begin(history.schedule("load"))
    history.event(WorkflowExecutionCancelRequested("wrong file"))
    assert history.after(2).timeline().waiting == (
        "Cancellation was requested 2 s ago (wrong file). Waiting for activity load, running for 2 s."
    )


def test_how_it_ended() -> None:
    assert SAMPLES["completed"]().timeline().outcome == "Completed: 6 activities, 1 of them retried."
    assert SAMPLES["failed"]().timeline().outcome == (
        "Activity charge_card failed: CardDeclined: insufficient funds (at pay.py line 41)"
    )
    history = begun()
    history.run_fails(application("ValueError", "no rows"))
    assert history.timeline().outcome == "Failed: ValueError: no rows"


def test_before_the_first_event() -> None:
    history = begun()
    history.events.clear()
    timeline = history.timeline()
    assert (timeline.status, timeline.start_time) == ("running", START / 1e6)
