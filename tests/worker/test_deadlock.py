"""Workflow code that blocks its thread."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

import pytest
from laboratory import Lab, Sleep

from flowkernel import workflow
from flowkernel.client import WorkflowQueryFailedError

pytestmark = pytest.mark.anyio

SOON = {"deadlock_timeout": timedelta(seconds=0.1)}
blocks = threading.Event()


@workflow.defn
class Spins:
    @workflow.run
    async def run(self, once: bool) -> str:
        while not blocks.is_set():
            pass
        return "done"

    @workflow.query
    def spin(self) -> None:
        while not blocks.is_set():
            pass


@workflow.defn
class SpinsInQuery:
    @workflow.run
    async def run(self) -> None:
        await workflow.sleep("1h")

    @workflow.query
    def spin(self) -> None:
        while not blocks.is_set():
            pass


@pytest.fixture(autouse=True)
def _end_spinning():
    blocks.clear()
    yield
    blocks.set()


async def test_the_task_fails_and_the_worker_goes_on(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    async with lab.worker(Spins, Sleep, **SOON):
        handle = await lab.start(Spins.run, True)
        failed = await lab.event(handle, "WorkflowTaskFailed")
        assert failed.failure.message == (
            "[TMPRL1101] Potential deadlock detected: workflow didn't yield within 0.1 second(s). "
            "Put what computes or waits for that long into an activity."
        )
        assert "while not blocks.is_set()" in failed.failure.stack_trace
        assert await lab.run(Sleep.run, "1m") == "slept 1m"
        blocks.set()
        assert await handle.result() == "done"
    assert any(record.levelno == logging.ERROR and "TMPRL1101" in record.message for record in caplog.records)


async def test_others_in_the_same_batch_go_on(lab: Lab) -> None:
    stuck = await lab.start(Spins.run, True)
    others = [await lab.start(Sleep.run, "1m") for _ in range(5)]
    async with lab.worker(Spins, Sleep, **SOON):
        assert [await other.result() for other in others] == ["slept 1m"] * 5
        await lab.event(stuck, "WorkflowTaskFailed")


async def test_a_query_that_blocks(lab: Lab) -> None:
    async with lab.worker(SpinsInQuery, Sleep, **SOON):
        handle = await lab.start(SpinsInQuery.run)
        with pytest.raises(WorkflowQueryFailedError, match="TMPRL1101"):
            await handle.query(SpinsInQuery.spin)
        blocks.set()
        await handle.query(SpinsInQuery.spin)
        await handle.result()


async def test_debug_mode_lets_it_take_its_time(lab: Lab) -> None:
    async with lab.worker(Spins, debug_mode=True, **SOON):
        handle = await lab.start(Spins.run, True)
        threading.Timer(0.3, blocks.set).start()
        assert await handle.result() == "done"
        assert (await handle.fetch_history()).events[3].stored_name == "WorkflowTaskCompleted"
