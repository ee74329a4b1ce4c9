from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from flowkernel import workflow
from flowkernel.common import RawValue
from flowkernel.model.requests import QueryFailed


@workflow.defn
class Counter:
    def __init__(self) -> None:
        self.count = 0

    @workflow.run
    async def run(self) -> int:
        await workflow.sleep(5)
        self.count += 1
        return self.count

    @workflow.query
    def value(self) -> int:
        return self.count

    @workflow.query(name="plus")
    def add(self, other: int) -> int:
        return self.count + other

    @workflow.query
    async def late(self) -> int:
        return self.count

    @workflow.query
    async def never(self) -> None:
        await asyncio.sleep(0)

    @workflow.query
    def broken(self) -> None:
        raise ValueError("broken on purpose")

    @workflow.query(name="meddle")
    def meddle(self, how: str) -> object:
        return {
            "activity": lambda: workflow.start_activity("x", start_to_close_timeout=1),
            "timer": lambda: asyncio.get_running_loop().call_later(1, print),
            "random": lambda: workflow.uuid4(),
            "task": lambda: asyncio.create_task(asyncio.sleep(0)),
            "callback": lambda: asyncio.get_running_loop().call_soon(print),
            "signal": lambda: workflow.set_signal_handler("x", print),
            "query": lambda: workflow.set_query_handler("x", print),
        }[how]()

    @workflow.query
    def flags(self) -> list[bool]:
        unsafe = workflow.unsafe
        return [unsafe.is_read_only(), unsafe.is_replaying(), unsafe.is_replaying_history_events()]


def test_answers_from_the_present_state(drive):
    driver = drive(Counter)
    driver.task()
    assert (driver.ask("value"), driver.ask("plus", 5), driver.ask("late")) == (0, 5, 0)
    driver.history.timer_fired("1")
    driver.task()
    assert driver.ask("value") == 1


def test_a_closed_run_answers_by_replay(drive):
    driver = drive(Counter)
    driver.task()
    driver.history.timer_fired("1")
    driver.task()
    driver.instance = driver.replay()
    assert driver.instance.closed
    assert driver.ask("value") == 1
    assert driver.ask("flags") == [True, True, False]


def test_unknown_queries_name_the_known_ones(drive):
    driver = drive(Counter)
    driver.task()
    with pytest.raises(QueryFailed, match=r"no query handler 'nope'; known queries: __stack_trace, broken, flags, late, meddle"):
        driver.ask("nope")


def test_what_the_handler_raises_is_the_answer(drive):
    driver = drive(Counter)
    driver.task()
    with pytest.raises(QueryFailed, match="broken on purpose") as caught:
        driver.ask("broken")
    assert caught.value.failure.info.type == "ValueError"


@pytest.mark.filterwarnings("ignore:coroutine")
@pytest.mark.parametrize(
    ("how", "attempted"),
    [
        ("activity", "start an activity"),
        ("timer", "start a timer"),
        ("random", "draw random numbers"),
        ("task", "create a task"),
        ("callback", "schedule a callback"),
        ("signal", "set a signal handler"),
        ("query", "set a query handler"),
    ],
)
def test_queries_cannot_change_anything(drive, how, attempted):
    driver = drive(Counter)
    driver.task()
    with pytest.raises(QueryFailed, match=f"cannot {attempted} in a query handler"):
        driver.ask("meddle", how)
    driver.history.timer_fired("1")
    assert driver.value(driver.task()) == 1


def test_a_query_does_not_wait(drive):
    driver = drive(Counter)
    driver.task()
    with pytest.raises(QueryFailed, match="'never' waits for something"):
        driver.ask("never")


def test_before_the_code_ran_there_is_no_answer(drive):
    driver = drive(Counter)
    driver.instance.activate(driver.history.events)
    with pytest.raises(QueryFailed, match="has not run for the first time"):
        driver.ask("value")


def test_handlers_set_by_code(drive):
    async def run():
        state = ["waiting"]
        workflow.set_query_handler("state", lambda: state[0])

        def anything(name: str, args: Sequence[RawValue]) -> str:
            return f"{name} {workflow.payload_converter().from_payload(args[0].payload)}"

        workflow.set_dynamic_query_handler(anything)
        assert workflow.get_dynamic_query_handler() is anything
        assert workflow.get_query_handler("state")() == "waiting"
        await workflow.sleep(1)

    driver = drive(run)
    driver.task()
    assert driver.ask("state") == "waiting"
    assert driver.ask("whatever", 7) == "whatever 7"


def test_the_stack_trace_shows_where_every_task_waits(drive):
    async def inner():
        await workflow.sleep(60)  # the line in question

    async def run():
        await asyncio.gather(inner(), workflow.execute_activity("load", start_to_close_timeout=1))

    driver = drive(run)
    driver.task()
    trace = driver.ask("__stack_trace")
    assert trace.startswith("run:\n")
    assert "test_queries.py" in trace
    assert "inner" in trace
    assert "\n\nload:\n" in trace


def test_a_query_between_does_not_answer_the_open_task(drive):
    driver = drive(Counter)
    driver.task()
    driver.history.timer_fired("1").task()
    assert driver.instance.activate(driver.history.since(driver.instance.last_event_id), answer=False) == ()
    assert driver.ask("value") == 0
    commands = driver.instance.activate(())
    driver.history.commands(commands)
    assert driver.value(commands) == 1
