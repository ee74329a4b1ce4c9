from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref

import pytest

from flowkernel import workflow
from flowkernel.replay.errors import OutdatedInstance


def test_finally_blocks_run_and_ask_for_nothing(drive):
    log: list[str] = []

    async def run():
        try:
            await workflow.execute_activity("load", start_to_close_timeout=1)
        finally:
            log.append(f"finally, replaying={workflow.unsafe.is_replaying()}")
            await workflow.execute_activity("clean", start_to_close_timeout=1)
            log.append("never reached")

    driver = drive(run)
    driver.task()
    driver.instance.evict()
    assert log == ["finally, replaying=True"]
    assert driver.reports == []
    log.clear()


def test_all_tasks_end(drive):
    ended: list[str] = []

    async def run():
        async def background(name: str):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append(name)
                raise

        workflow.set_signal_handler("x", lambda: background("signal"))
        async with asyncio.TaskGroup() as group:
            group.create_task(background("a"))
            group.create_task(background("b"))
            await workflow.sleep(60)

    driver = drive(run)
    driver.history.signaled("x")
    driver.task()
    driver.instance.evict()
    assert sorted(ended) == ["a", "b", "signal"]
    ended.clear()


def test_a_swallowed_cancellation_is_repeated(drive):
    swallowed: list[int] = []

    async def run():
        while len(swallowed) < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed.append(1)

    driver = drive(run)
    driver.task()
    driver.instance.evict()
    assert len(swallowed) == 3
    assert driver.reports == []
    swallowed.clear()


def test_code_that_will_not_end_is_left_behind_and_reported(drive):
    stop: list[int] = []

    async def run():
        while not stop:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    driver = drive(run)
    driver.task()
    driver.failed = True
    driver.instance.evict()
    ((message, _),) = driver.reports
    assert "tasks that swallow their cancellation were left behind: run" in message
    stop.append(1)


def test_evicting_twice_or_before_the_first_task_is_fine(drive):
    async def run():
        await workflow.sleep(1)

    driver = drive(run)
    driver.instance.evict()
    driver.instance.evict()
    with pytest.raises(OutdatedInstance):
        driver.instance.activate(driver.history.events)
    with pytest.raises(OutdatedInstance, match="evicted"):
        driver.instance.query("x")


def test_a_dropped_instance_does_not_complain(drive, recwarn):
    async def run():
        await workflow.sleep(1)

    driver = drive(run)
    driver.task()
    driver.instance = driver.make()
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []


def test_a_finished_and_evicted_instance_needs_no_garbage_collector(drive):
    """Thousands of runs a second come and go: reference counts alone must free them."""

    async def run():
        await workflow.execute_activity("load", start_to_close_timeout=1)

    driver = drive(run)
    driver.task()
    driver.history.activity_completed("1")
    driver.task()
    instance = driver.replay()
    loop = weakref.ref(instance.runtime.loop)
    gc.disable()
    try:
        instance.evict()
        del instance
        assert loop() is None
    finally:
        gc.enable()
