"""Database files: shared within a process, owned against others, carried on after a kill."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from laboratory import QUEUE, Inbox, Sleep

from flowkernel.client import Client, RPCError, RPCStatusCode, open_client
from flowkernel.model.errors import DatabaseCorrupt, DatabaseInUse, DatabaseReadOnly
from flowkernel.worker import Worker

pytestmark = pytest.mark.anyio

PIPELINE = """
import asyncio, os, signal, sys
from flowkernel import activity, workflow
from flowkernel.client import Client
from flowkernel.common import WorkflowIDConflictPolicy
from flowkernel.worker import Worker

@activity.defn(start_to_close_timeout="1m")
async def step(n: int) -> int:
    with open(sys.argv[2], "a") as file:
        print(n, file=file)
    if n == 3 and sys.argv[3] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return n

@workflow.defn
class Pipeline:
    @workflow.run
    async def run(self, steps: int) -> int:
        return sum([await step(n) for n in range(steps)])

async def main() -> None:
    async with await Client.connect(sys.argv[1]) as client:
        async with Worker(client, task_queue="q", workflows=[Pipeline], activities=[step]):
            handle = await client.start_workflow(
                Pipeline.run, 6, id="p", task_queue="q", id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING
            )
            print(await handle.result())

asyncio.run(main())
"""

HOLD = """
import asyncio, sys
from flowkernel.client import Client

async def main() -> None:
    async with await Client.connect(sys.argv[1]):
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []

    def run(name: str, source: str, *args: Any) -> subprocess.Popen[str]:
        path = tmp_path / name
        path.write_text(textwrap.dedent(source))
        pipe = subprocess.PIPE
        command = [sys.executable, path, *map(str, args)]
        running.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.communicate()


async def test_a_killed_script_carries_on(tmp_path: Path, script: Callable[..., subprocess.Popen[str]]) -> None:
    database, steps = tmp_path / "p.duckdb", tmp_path / "steps.txt"
    first = script("pipeline.py", PIPELINE, database, steps, "die")
    assert first.wait(60) == -signal.SIGKILL
    assert steps.read_text().split() == ["0", "1", "2", "3"]
    second = script("pipeline.py", PIPELINE, database, steps, "live")
    out, err = second.communicate(timeout=60)
    assert (out, err) == ("15\n", "")
    assert steps.read_text().split() == ["0", "1", "2", "3", "3", "4", "5"]


async def test_another_process_is_told_who_has_the_file(tmp_path: Path, script: Callable[..., subprocess.Popen[str]]) -> None:
    database = tmp_path / "p.duckdb"
    owner = script("nightly.py", HOLD, database)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "open\n"
    with pytest.raises(DatabaseInUse) as caught:
        await Client.connect(database)
    assert (caught.value.pid, caught.value.owner) == (owner.pid, "nightly.py")
    assert str(caught.value).startswith(
        f"{database}: in use by process {owner.pid} (nightly.py). A DuckDB file belongs to one process"
    )
    owner.communicate("\n", timeout=60)
    async with await Client.connect(database) as client:
        assert [item async for item in client.list_workflows()] == []


async def test_two_clients_of_one_file_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with await Client.connect("flows.duckdb") as first:
        async with await Client.connect(tmp_path / "flows.duckdb") as second:
            assert first.service is second.service
            async with Worker(second, task_queue=QUEUE, workflows=[Inbox]):
                handle = await first.start_workflow(Inbox.run, id="w", task_queue=QUEUE)
                await second.get_workflow_handle("w").signal("put", 1)
                await first.get_workflow_handle("w").signal("finish")
                assert await handle.result() == [1]
        assert (await first.get_workflow_handle("w").describe()).status.name == "COMPLETED"
    with pytest.raises(RPCError, match="the flowkernel service is closed; open the database again") as caught:
        await handle.describe()
    assert caught.value.status is RPCStatusCode.UNAVAILABLE


async def test_what_is_open_goes_on_when_the_file_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "flows.duckdb"
    async with await Client.connect(path) as client, Worker(client, task_queue=QUEUE, workflows=[Inbox]):
        handle = await client.start_workflow(Inbox.run, id="w", task_queue=QUEUE)
        await handle.signal(Inbox.put, "before")
        assert await handle.query(Inbox.count) == 1
    async with await Client.connect(path) as client, Worker(client, task_queue=QUEUE, workflows=[Inbox]):
        handle = client.get_workflow_handle("w")
        assert await handle.query(Inbox.count) == 1
        await handle.signal(Inbox.put, "after")
        await handle.signal("finish")
        assert await handle.result() == ["before", "after"]


async def test_memory_is_private_and_gone(tmp_path: Path) -> None:
    async with await Client.connect(":memory:") as first, await Client.connect(":memory:") as second:
        await first.start_workflow(Sleep.run, "1m", id="w", task_queue=QUEUE)
        assert [item async for item in second.list_workflows()] == []


async def test_without_an_event_loop(tmp_path: Path) -> None:
    client = await asyncio.to_thread(open_client, tmp_path / "flows.duckdb", owner="a test")
    client.close()
    client.close()


async def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'localhost:7233' looks like the address of a server.*give a path such as"):
        await Client.connect("localhost:7233")
    broken = tmp_path / "broken.duckdb"
    broken.write_bytes(b"this is no database" * 1000)
    with pytest.raises(DatabaseCorrupt, match=r"is not a readable flowkernel database.*Restore it from a copy"):
        await Client.connect(broken)
    assert broken.read_bytes() == b"this is no database" * 1000
    if os.geteuid() != 0:  # root may write everywhere
        folder = tmp_path / "folder"
        folder.mkdir(mode=0o500)
        with pytest.raises(DatabaseReadOnly, match=r"cannot be written. Make the file and its folder writable"):
            await Client.connect(folder / "flows.duckdb")
