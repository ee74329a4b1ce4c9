"""asyncio in workflow code: what works is deterministic, what cannot is refused."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from contextlib import asynccontextmanager

import pytest

from flowkernel import workflow
from flowkernel.replay.errors import UnsupportedInWorkflow, WorkflowCodeError
from flowkernel.replay.loop import WorkflowLoop


def result_of(drive, code):
    driver = drive(code)
    return driver.value(driver.task())


def test_tasks_run_in_the_order_in_which_they_were_made(drive):
    async def run():
        order: list[int] = []

        async def one(number: int) -> int:
            for _ in range(2):
                order.append(number)
                await asyncio.sleep(0)
            return number

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(n)) for n in range(3)]
        return [list(order), [task.result() for task in tasks], await asyncio.gather(*(one(n) for n in (7, 8)))]

    assert result_of(drive, run) == [[0, 1, 2, 0, 1, 2], [0, 1, 2], [7, 8]]


def test_a_task_group_fails_as_a_group(drive):
    async def run():
        async def bad():
            raise KeyError("x")

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(bad())
                sleeper = group.create_task(workflow.sleep(60))
        except* KeyError as errors:
            failed = len(errors.exceptions)
        return [failed, sleeper.cancelled()]

    assert result_of(drive, run) == [1, True]


def test_locks_events_queues_and_semaphores(drive):
    async def run():
        lock, event, queue, semaphore = asyncio.Lock(), asyncio.Event(), asyncio.Queue(maxsize=1), asyncio.Semaphore(2)
        log: list[str] = []

        async def producer():
            for n in range(3):
                await queue.put(n)
            event.set()

        async def worker(name: str):
            async with semaphore, lock:
                log.append(f"{name}{await queue.get()}")

        await asyncio.gather(producer(), worker("a"), worker("b"), worker("c"), event.wait())
        return log

    assert result_of(drive, run) == ["a0", "b1", "c2"]


def test_context_variables_belong_to_their_task(drive):
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")

    async def run():
        async def one(name: str) -> str:
            variable.set(name)
            await asyncio.sleep(0)
            return variable.get()

        return [*await asyncio.gather(one("a"), one("b")), variable.get()]

    variable.set("of the test")
    assert result_of(drive, run) == ["a", "b", "nothing"]


def test_async_generators_and_context_managers(drive):
    async def run():
        log: list[object] = []

        async def numbers():
            for n in range(3):
                await asyncio.sleep(0)
                yield n

        @asynccontextmanager
        async def scope():
            log.append("in")
            yield
            log.append("out")

        async with scope():
            log.extend([n async for n in numbers()])
        return log

    assert result_of(drive, run) == ["in", 0, 1, 2, "out"]


def test_asyncios_objects_can_be_made_in_init(drive):
    driver = drive(MadeInInit)
    assert driver.value(driver.task()) == "made"


@workflow.defn
class MadeInInit:
    def __init__(self) -> None:
        self.future = asyncio.get_running_loop().create_future()
        self.task = asyncio.get_running_loop().create_task(self.fill())

    async def fill(self) -> None:
        self.future.set_result("made")

    @workflow.run
    async def run(self) -> str:
        return await self.future


def test_tasks_are_kept_alive(drive):
    async def run():
        done: list[str] = []

        async def forgotten():
            await asyncio.sleep(0)
            done.append("ran")

        asyncio.create_task(forgotten())  # noqa: RUF006 - nobody keeps it: that is the point
        gc.collect()
        await workflow.wait_condition(lambda: bool(done))
        return done

    assert result_of(drive, run) == ["ran"]


def test_wait_keeps_the_order(drive):
    async def run():
        tasks = [asyncio.create_task(asyncio.sleep(0, n)) for n in range(20)]
        done, pending = await workflow.wait(tasks)
        first, rest = await workflow.wait(
            [asyncio.create_task(workflow.sleep(9)), asyncio.create_task(asyncio.sleep(0))], return_when=asyncio.FIRST_COMPLETED
        )
        for task in rest:
            task.cancel()
        return [[task.result() for task in done], len(pending), len(first), len(rest)]

    assert result_of(drive, run) == [list(range(20)), 0, 1, 1]


def test_wait_with_a_timeout(drive):
    async def run():
        slow = asyncio.create_task(asyncio.Event().wait())
        done, pending = await workflow.wait([slow], timeout=5)
        return [len(done), len(pending)]

    driver = drive(run)
    driver.task()
    driver.history.timer_fired("1")
    assert driver.value(driver.task()) == [0, 1]


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (list, ValueError, "nothing to wait for"),
        (lambda: asyncio.get_running_loop().create_future(), TypeError, "not a single one"),
        (lambda: [3], TypeError, "not a int; make it a task"),
    ],
)
def test_wait_says_what_it_takes(drive, given, error, text):
    async def run():
        await workflow.wait(given())

    with pytest.raises(WorkflowCodeError, match=text) as caught:
        drive(run).task()
    assert type(caught.value.__cause__) is error


def test_as_completed_gives_results_as_they_come(drive):
    async def run():
        calls = [workflow.execute_activity("load", n, start_to_close_timeout=1) for n in range(3)]
        return [await one for one in workflow.as_completed(calls)]

    driver = drive(run)
    driver.task()
    driver.history.activity_completed("3", "c").activity_completed("1", "a")
    driver.task()
    driver.history.activity_completed("2", "b")
    assert driver.value(driver.task()) == ["c", "a", "b"]


def test_as_completed_with_a_timeout(drive):
    async def run():
        results: list[str] = []
        for one in workflow.as_completed([asyncio.Event().wait(), asyncio.sleep(0, "fast")], timeout=3):
            try:
                results.append(await one)
            except TimeoutError:
                results.append("late")
        return results

    driver = drive(run)
    driver.task()
    driver.history.timer_fired("1")
    assert driver.value(driver.task()) == ["fast", "late"]


@pytest.mark.parametrize(
    ("attempt", "text"),
    [
        (lambda: asyncio.to_thread(print), "running a function on a thread or process"),
        (lambda: asyncio.open_connection("localhost", 1), "opening a network connection"),
        (lambda: asyncio.create_subprocess_exec("true"), "starting a process"),
        (lambda: asyncio.start_server(print, "localhost", 1), "opening a network server"),
        (lambda: asyncio.get_running_loop().getaddrinfo("localhost", 1), "looking up a network address"),
    ],
)
def test_effects_are_refused_with_the_way_out(drive, attempt, text):
    async def run():
        await attempt()

    with pytest.raises(WorkflowCodeError, match=f"{text}.* is not possible in workflow code.*Put it into an activity") as caught:
        drive(run).task()
    assert isinstance(caught.value.__cause__, UnsupportedInWorkflow)


@pytest.mark.parametrize("name", ["call_soon_threadsafe", "run_in_executor", "run_until_complete", "stop", "close", "add_reader"])
def test_loop_methods_are_refused(name):
    with pytest.raises(UnsupportedInWorkflow, match="an activity"):
        getattr(WorkflowLoop(), name)(None, None)


def test_nothing_of_asyncios_interface_is_left_undefined():
    undefined = [
        name
        for name, member in vars(asyncio.AbstractEventLoop).items()
        if callable(member) and not name.startswith("__") and name not in vars(WorkflowLoop)
    ]
    assert undefined == []


def test_errors_that_nobody_awaits_are_reported(drive):
    async def run():
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)
        return "went on"

    driver = drive(run)
    assert driver.value(driver.task()) == "went on"
    ((message, error),) = driver.reports[:1]
    assert message.startswith("Exception in callback")
    assert isinstance(error, ZeroDivisionError)


def test_an_exception_handler_of_the_workflows_own(drive):
    async def run():
        seen: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: seen.append(type(context["exception"]).__name__))
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return seen

    assert result_of(drive, run) == ["ZeroDivisionError"]


def test_the_callers_own_loop_is_current_again_afterwards(drive):
    async def test():
        outer = asyncio.get_running_loop()

        async def run():
            assert workflow.in_workflow()
            return asyncio.get_running_loop() is outer

        driver = drive(run)
        value = driver.value(driver.task())
        return value, asyncio.get_running_loop() is outer, workflow.in_workflow()

    assert asyncio.run(test()) == (False, True, False)


def test_a_failing_task_group_cancels_in_the_order_of_creation(drive):
    """asyncio keeps a group's tasks in a set, whose order would otherwise come from memory addresses."""

    async def run():
        async with asyncio.TaskGroup() as group:
            for n in range(30):
                group.create_task(workflow.sleep(n + 1))
            await workflow.wait_condition(lambda: workflow.cancellation_reason() is not None)
            raise KeyError

    driver = drive(run, failure_exception_types=[BaseExceptionGroup])
    driver.task()
    driver.history.cancel_requested()
    *cancelled, end = driver.task()
    assert [command.timer_id for command in cancelled] == [str(n + 1) for n in range(30)]
    assert type(end).__name__ in {"CancelWorkflowExecution", "FailWorkflowExecution"}
