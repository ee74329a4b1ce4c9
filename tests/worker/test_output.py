"""What activities print and log is kept with the attempt that did."""

from __future__ import annotations

import asyncio
import logging
import sys

import pytest
from laboratory import Call, Gate, Lab, named, output_of

from flowkernel import activity

pytestmark = pytest.mark.anyio

log = logging.getLogger("shop")


@activity.defn
def prints_in_thread(fails: int) -> int:
    attempt = activity.info().attempt
    print("attempt", attempt)
    print("careful", file=sys.stderr)
    log.warning("stock of %s is low", "tea")
    if attempt <= fails:
        raise ValueError("no")
    return attempt


@activity.defn
async def prints_on_loop(fails: int) -> int:
    attempt = activity.info().attempt
    print("attempt", attempt)
    await asyncio.sleep(0)
    print("careful", file=sys.stderr)
    log.warning("stock of %s is low", "tea")
    if attempt <= fails:
        raise ValueError("no")
    return attempt


@activity.defn(in_process=True)
def prints_in_process(fails: int) -> int:
    attempt = activity.info().attempt
    print("attempt", attempt)
    print("careful", file=sys.stderr)
    logging.getLogger("shop").warning("stock of %s is low", "tea")
    if attempt <= fails:
        raise ValueError("no")
    return attempt


@pytest.mark.parametrize("fn", [prints_in_thread, prints_on_loop, prints_in_process])
async def test_output_of_each_attempt(lab: Lab, fn, capsys: pytest.CaptureFixture[str]) -> None:
    async with lab.worker(Call, fn):
        handle = await lab.start_call(fn, 1, start_to_close_timeout="1h")
        assert await handle.result() == 2
    assert await output_of(handle) == [
        piece
        for attempt in (1, 2)
        for piece in (
            (attempt, "stdout", f"attempt {attempt}\n"),
            (attempt, "stderr", "careful\n"),
            (attempt, "log", "WARNING shop: stock of tea is low\n"),
        )
    ]
    printed = capsys.readouterr()
    assert "attempt" not in printed.out
    assert "careful" not in printed.err


async def test_activities_at_the_same_time_do_not_mix(lab: Lab) -> None:
    gate = Gate()

    @activity.defn
    async def one(name: str) -> None:
        print(name, "begins")
        await gate.pass_through()
        print(name, "ends")

    async with lab.worker(Call, one):
        first, second = await lab.start_call(one, "a"), await lab.start_call(one, "b")
        await gate.arrived()
        await gate.arrived()
        gate.open()
        await asyncio.gather(first.result(), second.result())
    assert await output_of(first) == [(1, "stdout", "a begins\na ends\n")]
    assert await output_of(second) == [(1, "stdout", "b begins\nb ends\n")]


async def test_threads_and_tasks_that_an_activity_starts_belong_to_it(lab: Lab) -> None:
    @activity.defn
    async def spreads() -> None:
        async def child() -> None:
            print("from a task")

        await asyncio.create_task(child())
        await asyncio.to_thread(print, "from a thread")

    async with lab.worker(Call, spreads):
        handle = await lab.start_call(spreads)
        await handle.result()
    assert await output_of(handle) == [(1, "stdout", "from a task\nfrom a thread\n")]


async def test_output_is_kept_while_the_attempt_still_runs(lab: Lab) -> None:
    gate = Gate()

    @activity.defn
    def slow() -> None:
        print("half way")
        gate.pass_in_thread()

    async with lab.worker(Call, slow):
        handle = await lab.start_call(slow)
        record = await lab.seen(handle, named("ActivityOutputCaptured"))
        assert (record.stream, record.text) == ("stdout", "half way\n")
        gate.open()
        await handle.result()


async def test_what_is_printed_elsewhere_passes(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    async with lab.worker(Call, prints_in_thread):
        print("not an activity")
        await lab.call(prints_in_thread, 0)
    assert capsys.readouterr().out == "not an activity\n"


async def test_an_avalanche_is_cut(lab: Lab) -> None:
    @activity.defn
    def avalanche() -> None:
        for _ in range(3):
            print("x" * 600_000)

    async with lab.worker(Call, avalanche):
        handle = await lab.start_call(avalanche)
        await handle.result()
    text = "".join(text for _, _, text in await output_of(handle))
    assert len(text) < 1_048_576 + 100
    assert text.endswith("\n[flowkernel: output past 1,048,576 characters was not kept]\n")


async def test_the_activity_logger_says_which_activity(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    @activity.defn
    def speaks() -> None:
        activity.logger.warning("hello")

    async with lab.worker(Call, speaks):
        await lab.call(speaks)
    (record,) = [record for record in caplog.records if record.name == "flowkernel.activity"]
    assert record.message.startswith("hello ({'activity_id': '1', 'activity_type': 'speaks', 'attempt': 1")
    assert record.temporal_activity["workflow_id"] == "flow-1"
