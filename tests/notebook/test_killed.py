"""A kernel is killed while the fifth of ten steps runs: the next kernel runs the same cells and carries on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flowkernel.timeline import MIME_TYPE

if TYPE_CHECKING:
    from tests.notebook.conftest import Kernel, Run

pytestmark = pytest.mark.kernel

STEPS = range(1, 11)
KILLED = 5

LOAD = "%load_ext flowkernel"
# Opening a named pipe blocks until the other end is opened too: so the test, and no clock, decides when the kill falls.
ACTIVITY = """
from pathlib import Path
from flowkernel import activity, workflow

folder = Path({folder!r})

@activity.defn
def step(n: int) -> int:
    with open(folder / "effects.txt", "a") as effects:
        effects.write(f"{{n}}\\n")
    if n == {killed}:
        (folder / "fifth-has-begun").open("w").close()
        (folder / "fifth-may-end").open("r").close()
    return n * n
"""
WORKFLOW = f"""%%workflow ten
squares = []
for n in range({STEPS.start}, {STEPS.stop}):
    squares.append(await step(n))
{{"squares": squares, "sum": sum(squares)}}"""


def last_timeline(run: Run) -> dict[str, Any]:
    shown = [m["content"]["data"] for m in run.messages if "data" in m["content"] and MIME_TYPE in m["content"]["data"]]
    assert shown, f"the cell showed no timeline; it printed {run.printed!r}, and failed with {run.error}"
    return shown[-1][MIME_TYPE]


def attempts(timeline: dict[str, Any]) -> list[int]:
    return [bar["attempts"] for bar in timeline["bars"] if bar["kind"] == "activity"]


def test_ten_steps_survive_a_kill_at_the_fifth(start_kernel: Callable[[], Kernel], tmp_path: Path) -> None:
    begun, may_end, effects = (tmp_path / name for name in ("fifth-has-begun", "fifth-may-end", "effects.txt"))
    for pipe in (begun, may_end):
        os.mkfifo(pipe)
    cells = [LOAD, ACTIVITY.format(folder=str(tmp_path), killed=KILLED), WORKFLOW]

    first = start_kernel()
    for cell in cells:
        run = first.run(cell)
        assert run.status == "ok", run.error
    with begun.open("r"):  # blocks until the fifth step runs
        pass
    assert effects.read_text().split() == ["1", "2", "3", "4", "5"]
    started = last_timeline(run)
    assert started["status"] == "running"
    first_pid = first.manager.provisioner.process.pid
    os.kill(first_pid, signal.SIGKILL)
    assert first.manager.provisioner.process.wait() == -signal.SIGKILL

    second = start_kernel()
    assert second.manager.provisioner.process.pid != first_pid
    for cell in cells:
        run = second.run(cell)
        assert run.status == "ok", run.error
    assert run.printed.startswith("1 execution carries on: pipe/ten.")
    attached = last_timeline(run)
    assert (attached["workflow_id"], attached["run_id"]) == (started["workflow_id"], started["run_id"])
    with begun.open("r"), may_end.open("w"):  # the next attempt of the fifth step
        pass

    squares = [n * n for n in STEPS]
    assert second.value("await ten") == repr({"squares": squares, "sum": sum(squares)})
    done = effects.read_text().split()
    assert {n: done.count(str(n)) for n in STEPS} == {n: 2 if n == KILLED else 1 for n in STEPS}
    assert done == ["1", "2", "3", "4", "5", "5", "6", "7", "8", "9", "10"]
    ended = last_timeline(second.run("ten"))
    assert (ended["run_id"], ended["status"]) == (started["run_id"], "completed")
    assert attempts(ended) == [1, 1, 1, 1, 2, 1, 1, 1, 1, 1]


def test_running_the_cells_again_while_nothing_was_killed_attaches_too(
    start_kernel: Callable[[], Kernel], tmp_path: Path
) -> None:
    begun, may_end, effects = (tmp_path / name for name in ("fifth-has-begun", "fifth-may-end", "effects.txt"))
    for pipe in (begun, may_end):
        os.mkfifo(pipe)
    kernel = start_kernel()
    cells = [LOAD, ACTIVITY.format(folder=str(tmp_path), killed=KILLED), WORKFLOW]
    runs = [kernel.run(cell) for _ in range(2) for cell in cells]
    assert [run.status for run in runs] == ["ok"] * 6
    assert last_timeline(runs[2])["run_id"] == last_timeline(runs[5])["run_id"]
    with begun.open("r"), may_end.open("w"):
        pass
    assert kernel.value("(await ten)['sum']") == str(sum(n * n for n in STEPS))
    assert effects.read_text().split() == [str(n) for n in STEPS]
