"""Small workflows, each with its activities and with what its client does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any

from simulated_world import (
    NAMESPACE,
    QUEUE,
    WORKFLOW_ID,
    Attempt,
    Beat,
    Mend,
    Program,
    Released,
    Send,
    SendDuringTask,
    Sleep,
    payloads,
    signal,
)

from flowkernel import workflow
from flowkernel.common import RetryPolicy
from flowkernel.exceptions import ActivityError, ApplicationError, CancelledError
from flowkernel.model import requests as req
from flowkernel.model.ids import SECOND
from flowkernel.replay import WorkflowDefinition

CANCEL = req.RequestCancelWorkflowExecution(NAMESPACE, WORKFLOW_ID, reason="enough", request_id="cancel")
TERMINATE = req.TerminateWorkflowExecution(NAMESPACE, WORKFLOW_ID, reason="enough")
FAST = RetryPolicy(initial_interval=timedelta(seconds=2))


# --- activities -------------------------------------------------------------------------------------------------------


def double(context: Attempt, number: int) -> Generator[Any, Any, int]:
    yield 1.0
    return 2 * number


def instant(context: Attempt, number: int) -> int:
    return number


def slow(context: Attempt, seconds: float) -> Generator[Any, Any, str]:
    yield seconds
    return "slow"


def flaky(context: Attempt) -> str:
    if context.attempt < 3:
        raise ApplicationError(f"attempt {context.attempt}", type="Flaky")
    return "third time lucky"


def fatal(context: Attempt) -> None:
    raise ApplicationError("no way", type="Fatal", non_retryable=True)


def stoppable(context: Attempt) -> Generator[Any, Any, str]:
    for step in range(context.heartbeat_details[0] if context.heartbeat_details else 0, 10):
        cancel_requested = yield Beat((step,))
        if cancel_requested or (yield 1.0):
            raise CancelledError
    return "went through"


def counting(context: Attempt, goal: int) -> Generator[Any, Any, int]:
    """Counts with a heartbeat after each step, and takes over where the attempt before left off."""
    done = context.heartbeat_details[0] if context.heartbeat_details else 0
    while done < goal:
        yield 1.0
        done += 1
        context.world.notes.append(done)
        yield Beat((done,))
    return done


def elsewhere(context: Attempt) -> None:
    context.world.effects[context.activity_id] += 1
    raise Released


# --- workflows --------------------------------------------------------------------------------------------------------


async def sequential() -> list[int]:
    return [await workflow.execute_activity("double", n, start_to_close_timeout=10) for n in range(4)]


async def immediate() -> int:
    total = 0
    for n in range(3):
        total += await workflow.execute_activity("instant", n, start_to_close_timeout=10)
    return total


async def fan_out() -> list[Any]:
    calls = [workflow.execute_activity("slow", float(n + 1), start_to_close_timeout=100) for n in range(4)]
    return await asyncio.gather(*calls)


async def fan_out_at_once() -> list[int]:
    async def chain(n: int) -> int:
        found = await workflow.execute_activity("instant", n, start_to_close_timeout=10, activity_id=f"{n} first")
        return await workflow.execute_activity("instant", found, start_to_close_timeout=10, activity_id=f"{n} then")

    return await asyncio.gather(*(chain(n) for n in range(3)))


async def retrying() -> str:
    return await workflow.execute_activity("flaky", start_to_close_timeout=10, retry_policy=FAST)


async def giving_up() -> str:
    try:
        await workflow.execute_activity("fatal", start_to_close_timeout=10)
    except ActivityError as error:
        return str(error.cause)
    return "?"


async def timers() -> str:
    await workflow.sleep(5)
    await asyncio.gather(workflow.sleep(10), workflow.sleep(20))
    await asyncio.sleep(5)
    return "awake"


async def timer_first() -> str:
    try:
        await asyncio.wait_for(workflow.execute_activity("slow", 1000.0, start_to_close_timeout=5000), 5)
    except TimeoutError:
        return await workflow.execute_activity("slow", 1.0, start_to_close_timeout=10, activity_id="after")
    return "?"


async def activity_first() -> str:
    return await asyncio.wait_for(workflow.execute_activity("slow", 5.0, start_to_close_timeout=5000), 1000)


def _collect(name: str) -> list[Any]:
    found: list[Any] = []
    workflow.set_signal_handler(name, found.append)
    return found


async def waiting() -> list[Any]:
    approvals = _collect("approve")
    await workflow.wait_condition(lambda: len(approvals) >= 2)
    return approvals


async def interrupted() -> list[Any]:
    """Is told something while its code runs."""
    words = _collect("say")
    await workflow.execute_activity("double", 1, start_to_close_timeout=10)
    await workflow.wait_condition(lambda: len(words) >= 1)
    await workflow.execute_activity("double", 2, start_to_close_timeout=10)
    return words


async def told_at_the_end() -> list[Any]:
    """Wants to end while something is on its way to it."""
    words = _collect("say")
    await workflow.execute_activity("double", 1, start_to_close_timeout=10)
    return words


def cancelling(kind: workflow.ActivityCancellationType) -> Callable[..., Any]:
    async def run() -> str:
        handle = workflow.start_activity("stoppable", start_to_close_timeout=1000, heartbeat_timeout=30, cancellation_type=kind)
        await workflow.sleep(3)
        handle.cancel()
        try:
            await handle
        except (ActivityError, asyncio.CancelledError):
            outcome = "cancelled"
        else:
            outcome = "not cancelled"
        await workflow.sleep(60)
        return outcome

    return run


async def heartbeating() -> int:
    return await workflow.execute_activity("counting", 5, start_to_close_timeout=100, heartbeat_timeout=10)


async def failing() -> None:
    await workflow.execute_activity("double", 1, start_to_close_timeout=10)
    raise ApplicationError("as planned", type="Planned")


async def broken() -> int:
    await workflow.execute_activity("double", 1, start_to_close_timeout=10)
    raise KeyError("a bug")


async def mended() -> int:
    return await workflow.execute_activity("double", 1, start_to_close_timeout=10)


async def cancelled() -> None:
    await workflow.sleep(1000)


async def clearing_up() -> str:
    try:
        await workflow.sleep(1000)
    except asyncio.CancelledError:
        await workflow.execute_activity("double", 1, start_to_close_timeout=10)
        raise
    return "?"


async def too_slow() -> None:
    await workflow.execute_activity("slow", 500.0, start_to_close_timeout=1000)


async def only_once() -> str:
    policy = RetryPolicy(maximum_attempts=1)
    try:
        return await workflow.execute_activity("slow", 5.0, start_to_close_timeout=100, retry_policy=policy)
    except ActivityError as error:
        return type(error.cause).__name__


async def completed_elsewhere() -> str:
    return await workflow.execute_activity("elsewhere", start_to_close_timeout=1000, activity_id="out")


ELSEWHERE = req.RespondActivityTaskCompleted(
    req.ActivityAddress(NAMESPACE, WORKFLOW_ID, "", "out"),
    payloads("from outside"),  # type: ignore[arg-type]
)

ONE_AT_A_TIME: dict[str, Program] = {
    "sequential": Program(sequential, {"double": double}),
    "immediate": Program(immediate, {"instant": instant}),
    "retrying": Program(retrying, {"flaky": flaky}),
    "giving up": Program(giving_up, {"fatal": fatal}),
    "timers": Program(timers),
    "heartbeating": Program(heartbeating, {"counting": counting}),
    "waiting for signals": Program(
        waiting,
        client=(
            Sleep(10),
            Send(signal("approve", "Ada", request_id="1")),
            Sleep(10),
            Send(signal("approve", "Bo", request_id="2")),
        ),
    ),
    "failing": Program(failing, {"double": double}),
    "broken and mended": Program(
        broken, {"double": double}, client=(Sleep(5), Mend(WorkflowDefinition.of_function(mended, name="program")))
    ),
    "cancelled": Program(cancelled, client=(Sleep(1), Send(CANCEL))),
    "clearing up": Program(clearing_up, {"double": double}, client=(Sleep(1), Send(CANCEL))),
    "terminated": Program(too_slow, {"slow": slow}, client=(Sleep(1), Send(TERMINATE))),
    "run timeout": Program(too_slow, {"slow": slow}, options={"run_timeout": 100 * SECOND}),
    "completed elsewhere": Program(completed_elsewhere, {"elsewhere": elsewhere}, client=(Sleep(1), Send(ELSEWHERE))),
}
"""Programs in which one thing follows another: their histories are the same event by event."""

SEVERAL_AT_ONCE: dict[str, Program] = {
    "fan-out": Program(fan_out, {"slow": slow}),
    "fan-out at once": Program(fan_out_at_once, {"instant": instant}),
    "timer first": Program(timer_first, {"slow": slow}),
    "activity first": Program(activity_first, {"slow": slow}),
    "signal while a task is out": Program(
        interrupted, {"double": double}, client=(SendDuringTask(signal("say", "hello", request_id="1"), 1),)
    ),
    "signal while the last task is out": Program(
        told_at_the_end, {"double": double}, client=(SendDuringTask(signal("say", "hello", request_id="1"), 1),)
    ),
    **{
        f"cancellation {kind.name}": Program(cancelling(kind), {"stoppable": stoppable})
        for kind in workflow.ActivityCancellationType
    },
}
"""Programs in which the order of things that come together may differ."""

__all__ = ["ONE_AT_A_TIME", "QUEUE", "SEVERAL_AT_ONCE", "only_once", "slow"]
