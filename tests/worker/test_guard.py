"""What workflow code must not do, and what it is told."""

# ruff: noqa: PTH107, PTH123, PTH208, SIM115 - these calls are what is tested

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from laboratory import Call, Gate, Lab, Sleep

from flowkernel import activity, workflow

pytestmark = pytest.mark.anyio


async def _async_open() -> None:
    await asyncio.open_connection("localhost", 1)


TRIES: dict[str, Any] = {
    "open": lambda: open("/etc/hostname"),
    "write": lambda: open("/nowhere", "w"),
    "sleep": lambda: time.sleep(1),
    "connect": lambda: socket.create_connection(("127.0.0.1", 1)),
    "thread": lambda: threading.Thread(target=print).start(),
    "process": lambda: subprocess.run(["true"], check=True),
    "system": lambda: os.system("true"),
    "remove": lambda: os.remove("/nowhere"),
    "list": lambda: os.listdir("/"),
    "to_thread": lambda: asyncio.to_thread(print),
    "stream": _async_open,
}


@workflow.defn
class Tries:
    @workflow.run
    async def run(self, what: str) -> str:
        result = TRIES[what]()
        if asyncio.iscoroutine(result):
            await result
        return "got away with it"


INSTEAD = " is not possible in workflow code, because a replay could not repeat it. Put it into an activity and await that."


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("open", "open('/etc/hostname')" + INSTEAD),
        ("write", "open('/nowhere')" + INSTEAD),
        (
            "sleep",
            (
                "time.sleep(1) is not possible in workflow code, because a replay could not repeat it. "
                "Use await workflow.sleep(...), which is a durable timer and blocks nobody."
            ),
        ),
        ("connect", "looking up the address of '127.0.0.1'" + INSTEAD),
        ("thread", "starting a thread" + INSTEAD),
        ("process", "starting the process 'true'" + INSTEAD),
        ("system", "os.system(b'true')" + INSTEAD),
        ("remove", "removing the file '/nowhere'" + INSTEAD),
        ("list", "listing the folder '/'" + INSTEAD),
        ("to_thread", "running a function on a thread or process (asyncio.to_thread, loop.run_in_executor)" + INSTEAD),
        ("stream", "opening a network connection" + INSTEAD),
    ],
)
async def test_effects_are_refused(lab: Lab, what: str, text: str) -> None:
    async with lab.worker(Tries, Sleep):
        handle = await lab.start(Tries.run, what)
        failed = await lab.event(handle, "WorkflowTaskFailed")
        assert failed.failure.message == text
        await handle.terminate()
        assert await lab.run(Sleep.run, "1m") == "slept 1m"


@workflow.defn
class Imports:
    @workflow.run
    async def run(self) -> str:
        import colorsys
        import json.tool

        return f"{colorsys.__name__} {json.tool.__name__}"


async def test_imports_are_allowed(lab: Lab) -> None:
    async with lab.worker(Imports):
        assert await lab.run(Imports.run) == "colorsys json.tool"


@workflow.defn
class Unrestricted:
    @workflow.run
    async def run(self) -> bool:
        with workflow.unsafe.sandbox_unrestricted():
            return bool(os.listdir("/"))


async def test_who_insists_may(lab: Lab) -> None:
    async with lab.worker(Unrestricted):
        assert await lab.run(Unrestricted.run) is True


async def test_everything_else_goes_on_as_usual(lab: Lab) -> None:
    gate = Gate()

    @activity.defn
    def reads() -> bool:
        gate.open()
        with open(__file__) as file:
            return "def test_" in file.read()

    async with lab.worker(Call, reads):
        with open(os.devnull, "w") as file:
            file.write("the test itself")
        assert await lab.call(reads) is True
        time.sleep(0)


forbidden: list[Path] = []


@workflow.defn
class CleansUpBadly:
    @workflow.run
    async def run(self) -> None:
        try:
            await workflow.wait_condition(lambda: False)
        finally:
            with open(forbidden[0], "w") as file:
                file.write("x")


async def test_eviction_has_no_effects_either(lab: Lab, tmp_path: Path) -> None:
    forbidden[:] = [tmp_path / "written"]
    async with lab.worker(CleansUpBadly):
        handle = await lab.start(CleansUpBadly.run)
        await lab.event(handle, "WorkflowTaskCompleted")
    assert not forbidden[0].exists()
