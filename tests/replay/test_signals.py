from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from flowkernel import workflow
from flowkernel.common import RawValue
from flowkernel.exceptions import ApplicationError
from flowkernel.model import commands as c
from flowkernel.replay.errors import WorkflowCodeError


@dataclass
class Vote:
    who: str
    yes: bool = True


@workflow.defn
class Ballot:
    def __init__(self) -> None:
        self.votes: list[str] = []
        self.log: list[str] = ["init"]

    @workflow.run
    async def run(self) -> list[str]:
        self.log.append("run")
        await workflow.wait_condition(lambda: len(self.votes) >= 2)
        return [*self.log, *self.votes]

    @workflow.signal
    def vote(self, vote: Vote) -> None:
        self.votes.append(f"{vote.who}:{vote.yes}")

    @workflow.signal(name="slow vote")
    async def slow(self, vote: Vote) -> None:
        await workflow.sleep(1)
        self.vote(vote)

    @workflow.signal(dynamic=True)
    def anything(self, name: str, args: Sequence[RawValue]) -> None:
        self.votes.append(f"{name}:{len(args)}:{type(args[0]).__name__}")


def test_signals_of_the_first_task_come_before_run(drive):
    driver = drive(Ballot)
    driver.history.signaled("vote", {"who": "Ada"})
    assert driver.task() == ()
    driver.history.signaled("vote", {"who": "Bob", "yes": False})
    assert driver.value(driver.task()) == ["init", "run", "Ada:True", "Bob:False"]


def test_signals_come_before_everything_else_of_a_task(drive):
    order: list[str] = []

    async def run():
        workflow.set_signal_handler("poke", lambda: order.append("signal"))
        await workflow.sleep(1)
        order.append("timer")

    driver = drive(run)
    driver.task()
    driver.history.timer_fired("1").signaled("poke")
    driver.task()
    assert order == ["signal", "timer"]


def test_async_handlers_wait_like_any_code(drive):
    driver = drive(Ballot)
    driver.task()
    driver.history.signaled("slow vote", {"who": "Eve"}).signaled("vote", {"who": "Ada"})
    assert [type(command) for command in driver.task()] == [c.StartTimer]
    driver.history.timer_fired("1")
    assert driver.value(driver.task())[2:] == ["Ada:True", "Eve:True"]


def test_dynamic_handlers_get_the_name_and_raw_values(drive):
    driver = drive(Ballot)
    driver.task()
    driver.history.signaled("surprise", 1, 2).signaled("vote", {"who": "Ada"})
    assert driver.value(driver.task())[2:] == ["surprise:2:RawValue", "Ada:True"]


def test_unknown_signals_wait_for_their_handler_in_order(drive):
    got: list[object] = []

    async def run():
        await workflow.sleep(1)
        workflow.set_signal_handler("data", got.append)
        await asyncio.sleep(0)
        return list(got)

    driver = drive(run)
    driver.history.signaled("data", 1).signaled("other", 0)
    driver.task()
    driver.history.signaled("data", 2).timer_fired("1")
    assert driver.value(driver.task()) == [1, 2]
    got.clear()


def test_a_dynamic_handler_gets_everything_that_waited(drive):
    async def run():
        got: list[str] = []
        await workflow.sleep(1)

        def anything(name: str, args: Sequence[RawValue]) -> None:
            got.append(name)

        workflow.set_dynamic_signal_handler(anything)
        await asyncio.sleep(0)
        workflow.set_dynamic_signal_handler(None)
        assert workflow.get_dynamic_signal_handler() is None
        return got

    driver = drive(run)
    driver.history.signaled("a").signaled("b").signaled("a")
    driver.task()
    driver.history.timer_fired("1")
    assert driver.value(driver.task()) == ["a", "a", "b"]


def test_a_removed_handler_lets_signals_wait_again(drive):
    got: list[object] = []

    async def run():
        workflow.set_signal_handler("data", got.append)
        workflow.set_signal_handler("data", None)
        await workflow.sleep(1)

    driver = drive(run)
    driver.task()
    driver.history.signaled("data", 1)
    driver.task()
    assert got == []


def test_a_signal_that_cannot_be_read_is_dropped_and_reported(drive):
    driver = drive(Ballot)
    driver.task()
    driver.history.signaled("vote", 17)
    assert driver.task() == ()
    ((message, error),) = driver.reports
    assert message == "signal 'vote' dropped: its arguments cannot be read"
    assert error is not None


def test_arguments_are_untyped_when_their_number_differs(drive):
    async def run():
        def handler(vote: Vote, *more: object) -> None:
            got.append((type(vote).__name__, more))

        got: list[object] = []
        workflow.set_signal_handler("x", handler)
        await workflow.wait_condition(lambda: bool(got))
        return got

    driver = drive(run)
    driver.task()
    driver.history.signaled("x", {"who": "Ada"}, 2)
    assert driver.value(driver.task()) == [["dict", [2]]]


def test_application_error_in_a_handler_fails_the_run(drive):
    async def run():
        def fail() -> None:
            raise ApplicationError("no more")

        workflow.set_signal_handler("x", fail)
        await workflow.wait_condition(lambda: False)

    driver = drive(run)
    driver.task()
    driver.history.signaled("x")
    (command,) = driver.task()
    assert command.failure.message == "no more"


def test_any_other_error_in_a_handler_suspends_it(drive):
    async def run():
        workflow.set_signal_handler("x", lambda: {}["missing"])
        await workflow.wait_condition(lambda: False)

    driver = drive(run)
    driver.task()
    driver.history.signaled("x")
    with pytest.raises(WorkflowCodeError, match="KeyError: 'missing'"):
        driver.task()


def test_unfinished_handlers_warn_when_the_run_ends(drive):
    async def run():
        workflow.set_signal_handler("slow", lambda: workflow.sleep(60))
        await workflow.sleep(1)
        return workflow.all_handlers_finished()

    driver = drive(run)
    driver.task()
    driver.history.signaled("slow")
    driver.task()
    driver.history.timer_fired("1")
    with pytest.warns(workflow.UnfinishedSignalHandlersWarning, match=r"'test' ends .* slow \(1\)"):
        assert driver.value(driver.task()) is False


@workflow.defn
class Careless:
    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(1)

    @workflow.signal(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def slow(self) -> None:
        await workflow.sleep(60)


def test_abandoned_handlers_do_not_warn(drive):
    driver = drive(Careless)
    driver.task()
    driver.history.signaled("slow")
    driver.task()
    driver.history.timer_fired("1")
    assert [type(command) for command in driver.task()] == [c.CompleteWorkflowExecution]


def test_unfinished_handlers_as_errors_suspend(drive):
    """With warnings as errors the task fails, as in the official SDK."""

    async def run():
        workflow.set_signal_handler("slow", lambda: workflow.sleep(60))
        await workflow.sleep(1)

    driver = drive(run)
    driver.task()
    driver.history.signaled("slow")
    driver.task()
    driver.history.timer_fired("1")
    with pytest.raises(WorkflowCodeError, match="UnfinishedSignalHandlersWarning"):
        driver.task()


def test_receive_takes_signals_one_by_one_in_order_also_earlier_ones(drive):
    async def run():
        first = await workflow.receive("item")
        await workflow.sleep(1)
        return [first, await workflow.receive("item"), await workflow.receive("done")]

    driver = drive(run)
    driver.history.signaled("item", "a").signaled("item", "b")
    (timer,) = driver.task()
    assert isinstance(timer, c.StartTimer)
    driver.history.timer_fired("1")
    assert driver.task() == ()
    driver.history.signaled("done")
    assert driver.value(driver.task()) == ["a", "b", None]


def test_receive_refuses_a_signal_that_has_a_handler(drive):
    async def run():
        workflow.set_signal_handler("item", lambda: None)
        await workflow.receive("item")

    driver = drive(run)
    with pytest.raises(WorkflowCodeError, match="signal 'item' has a handler: it gets the signals"):
        driver.task()
