"""``flowkernel bench``: speed on this machine, as JSON.

Machines differ and are noisy, so the figures to compare are ratios within one run: a step against a bare commit on the same
disk, taken in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import duckdb

from flowkernel import activity, workflow
from flowkernel.client import Client
from flowkernel.worker import Worker

QUEUE = "bench"
STEPS = 40
ROUNDS = 15

_LOAD = """
import time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
started = time.perf_counter()
shell.run_line_magic("load_ext", "flowkernel")
print(time.perf_counter() - started)
"""


@activity.defn
async def step(number: int) -> int:
    """The least that an activity can do."""
    return number + 1


@workflow.defn
class Sequential:
    """One activity after another."""

    @workflow.run
    async def run(self, steps: int) -> int:
        """Count by activities."""
        number = 0
        for _ in range(steps):
            number = await workflow.execute_activity(step, number, start_to_close_timeout=timedelta(minutes=1))
        return number


@workflow.defn
class One:
    """One activity."""

    @workflow.run
    async def run(self, number: int) -> int:
        """Add one."""
        return await workflow.execute_activity(step, number, start_to_close_timeout=timedelta(minutes=1))


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="flowkernel bench", description="Measure speed on this machine, print JSON.")
    parser.add_argument("--workflows", type=int, default=12_000, help="one-activity workflows in all (default %(default)s)")
    parser.add_argument("--in-flight", type=int, default=1_000, help="of them at a time (default %(default)s)")
    parser.add_argument("--directory", type=Path, help="where to put the databases (default: a temporary folder)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        figures = asyncio.run(_measure(Path(folder), options.workflows, options.in_flight))
    figures["load_ext_seconds"] = round(_load_seconds(), 3)
    print(json.dumps(figures, indent=2))
    return 0


async def _measure(folder: Path, workflows: int, in_flight: int) -> dict[str, float]:
    async with await Client.connect(folder / "bench.duckdb") as client:
        worker = Worker(
            client,
            task_queue=QUEUE,
            workflows=[Sequential, One],
            activities=[step],
            max_concurrent_activities=in_flight,
            max_concurrent_workflow_tasks=in_flight,
        )
        async with worker:
            commit, per_step = await _steps(client, folder)
            rate = await _rate(client, workflows, in_flight)
    return {
        "commit_ms": round(commit, 3),
        "step_ms": round(per_step, 3),
        "step_over_commit": round(per_step / commit, 3),
        "workflows_per_second": round(rate),
    }


async def _steps(client: Client, folder: Path) -> tuple[float, float]:
    """Milliseconds of a one-row commit and of a sequential step, in turns."""
    bare = duckdb.connect(str(folder / "bare.duckdb"))
    bare.execute("create table entries (id bigint, data varchar)")
    commits: list[float] = []
    steps: list[float] = []
    await client.execute_workflow(Sequential.run, STEPS, id="warm-up", task_queue=QUEUE)
    for number in range(ROUNDS):
        for row in range(STEPS):
            started = time.perf_counter()
            bare.begin()
            bare.execute("insert into entries values (?, ?)", [row, "one row of about the size of an event" * 5])
            bare.commit()
            commits.append((time.perf_counter() - started) * 1e3)
        started = time.perf_counter()
        await client.execute_workflow(Sequential.run, STEPS, id=f"steps-{number}", task_queue=QUEUE)
        steps.append((time.perf_counter() - started) * 1e3 / STEPS)
    bare.close()
    return statistics.median(commits), statistics.median(steps)


async def _rate(client: Client, workflows: int, in_flight: int) -> float:
    """One-activity workflows per second, started and waited for by this process."""
    numbers = iter(range(workflows))

    async def one_after_another() -> None:
        for number in numbers:
            await client.execute_workflow(One.run, number, id=f"one-{number}", task_queue=QUEUE)

    started = time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(in_flight)))
    return workflows / (time.perf_counter() - started)


def _load_seconds() -> float:
    """Seconds that ``%load_ext flowkernel`` adds to a bare IPython."""
    runs = [subprocess.run([sys.executable, "-c", _LOAD], check=True, capture_output=True, text=True).stdout for _ in range(5)]  # noqa: S603
    return statistics.median(float(run.strip().splitlines()[-1]) for run in runs)
