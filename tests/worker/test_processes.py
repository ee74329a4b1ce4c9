"""Activities in processes of their own."""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta

import pytest
from laboratory import ONCE, Call, Lab, causes, events_of, named, records_of

from flowkernel import activity
from flowkernel.exceptions import ApplicationError, CancelledError
from flowkernel.model.records import ActivityAttemptFailed

pytestmark = pytest.mark.anyio

LONG = {"start_to_close_timeout": "1h"}


@activity.defn(in_process=True)
def pid() -> int:
    return os.getpid()


async def test_it_is_another_process_which_is_used_again(lab: Lab) -> None:
    async with lab.worker(Call, pid):
        first, second = await lab.call(pid, **LONG), await lab.call(pid, **LONG)
    assert first == second != os.getpid()


async def test_functions_defined_like_in_a_notebook(lab: Lab) -> None:
    """In a namespace that cannot be imported, with other things of that namespace."""
    cell: dict = {"__name__": "__main__", "activity": activity}
    exec(
        "import math\n"
        "factor = 3\n"
        "class Point:\n"
        "    def __init__(self, x): self.x = x\n"
        "def helper(point): return factor * math.floor(point.x)\n"
        "@activity.defn(in_process=True)\n"
        "def compute(x: float) -> int: return helper(Point(x))\n",
        cell,
    )
    offset = 100

    @activity.defn(in_process=True)
    def closes_over(x: int) -> int:
        return x + offset

    async with lab.worker(Call, cell["compute"], closes_over):
        assert await lab.call("compute", 2.5, **LONG) == 6
        assert await lab.call(closes_over, 1, **LONG) == 101


@activity.defn(in_process=True)
def fails_with(attempts: int) -> str:
    info = activity.info()
    if info.attempt <= attempts:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ApplicationError("outer", {"attempt": info.attempt}, type="Mine") from error
    return f"{info.activity_type} {info.workflow_id} attempt {info.attempt}"


async def test_failures_and_attempts(lab: Lab) -> None:
    async with lab.worker(Call, fails_with):
        assert await lab.call(fails_with, 1, **LONG) == "fails_with flow-1 attempt 2"
        _, error, inner = await causes(lab.call(fails_with, 9, **LONG, **ONCE))
    assert (error.type, error.message, list(error.details)) == ("Mine", "outer", [{"attempt": 1}])
    assert inner.type == "KeyError"
    assert "raise ApplicationError" in error.failure.stack_trace


@activity.defn(in_process=True)
def beats() -> list:
    info = activity.info()
    if info.attempt == 2:
        return list(info.heartbeat_details)
    activity.heartbeat("row", 7)
    raise ValueError("on")


async def test_heartbeats_reach_the_next_attempt(lab: Lab) -> None:
    async with lab.worker(Call, beats):
        assert await lab.call(beats, **LONG) == ["row", 7]


@activity.defn(in_process=True)
def dies(how: str) -> int:
    if activity.info().attempt == 1:
        if how == "exit":
            os._exit(3)
        os.kill(os.getpid(), 9)
    return activity.info().attempt


@pytest.mark.parametrize(("how", "text"), [("exit", "ended with exit code 3"), ("kill", "was killed by signal 9")])
async def test_a_process_that_dies_is_a_failed_attempt(lab: Lab, how: str, text: str) -> None:
    async with lab.worker(Call, dies):
        handle = await lab.start_call(dies, how, **LONG)
        assert await handle.result() == 2
    (failed,) = [record for record in await records_of(handle) if isinstance(record, ActivityAttemptFailed)]
    assert failed.failure.message == f"the process that ran activity 'dies' {text}"


@activity.defn(in_process=True)
def never_ends() -> None:
    while True:
        activity.heartbeat(os.getpid())
        time.sleep(0.005)


async def test_cancelling_kills_it(lab: Lab) -> None:
    async with lab.worker(Call, never_ends, default_heartbeat_throttle_interval=timedelta(0)):
        handle = await lab.start_call(never_ends, cancellation_type="WAIT_CANCELLATION_COMPLETED", **LONG)
        beat = await lab.seen(handle, named("ActivityHeartbeatRecorded"))
        await handle.cancel()
        (error,) = await causes(handle.result())
        assert isinstance(error, CancelledError)
        assert "ActivityTaskCanceled" in await events_of(handle)
        with pytest.raises(ProcessLookupError):
            os.kill(int(beat.details[0].data), 0)


async def test_processes_end_with_the_worker(lab: Lab) -> None:
    async with lab.worker(Call, pid):
        process = await lab.call(pid, **LONG)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


async def test_what_cannot_travel(lab: Lab) -> None:
    lock = threading.Lock()

    @activity.defn(in_process=True)
    def holds_a_lock() -> None:
        with lock:
            pass

    async with lab.worker(Call, holds_a_lock):
        _, error, *_ = await causes(lab.call(holds_a_lock, **LONG))
    assert error.type == "NotPicklable"
    assert error.message.startswith("activity 'holds_a_lock' cannot be sent to a process of its own: cannot pickle")


def test_coroutines_do_not_run_there() -> None:
    with pytest.raises(TypeError, match="activity 'wrong': a coroutine cannot run in a process of its own; write it as def"):

        @activity.defn(in_process=True)
        async def wrong() -> None: ...
