"""Real kernels: what a person sees."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flowkernel.timeline import MIME_TYPE

if TYPE_CHECKING:
    from tests.notebook.conftest import Kernel, Run

pytestmark = pytest.mark.kernel

ACTIVITIES = """
from flowkernel import activity, workflow

@activity.defn
def load(name: str) -> list[dict]:
    print("loading", name)
    return [{"v": 1}, {"v": 3}]

@activity.defn
async def summarise(rows: list[dict]) -> dict:
    return {"mean": sum(row["v"] for row in rows) / len(rows)}

@activity.defn
def broken(n: int) -> int:
    return [1][n]
"""
WEATHER = """%%workflow weather --start-to-close 30s
rows = await load(source)
await workflow.sleep("50ms")
(await summarise(rows))["mean"]
"""
SIGNALLED = """%%workflow approval
answers = []
async def approve(value):
    answers.append(value)
workflow.set_signal_handler("approve", approve)
workflow.set_query_handler("answers", lambda: answers)
await workflow.wait_condition(lambda: bool(answers))
answers[0]
"""


def timelines(run: Run) -> list[dict[str, Any]]:
    """The timelines that a cell showed or changed, in order."""
    kinds = ("display_data", "update_display_data")
    return [m["content"]["data"][MIME_TYPE] for m in run.messages if m["msg_type"] in kinds and MIME_TYPE in m["content"]["data"]]


def error(kernel: Kernel, code: str) -> tuple[str, str, str]:
    run = kernel.run(code)
    assert run.status == "error"
    assert run.error is not None
    return run.error


def test_a_cell_becomes_a_workflow(kernel: Kernel) -> None:
    kernel.run(ACTIVITIES + "source = 'abc'")
    run = kernel.run(WEATHER)
    assert run.status == "ok"
    assert len(run.displays) == 1
    bundle = run.displays[0]["data"]
    assert {MIME_TYPE, "text/html", "text/plain"} == set(bundle)
    assert bundle[MIME_TYPE]["workflow_id"] == "pipe/weather"
    assert run.displays[0]["transient"]["display_id"]
    awaited = kernel.run("await weather")
    assert awaited.result == "2.0"
    updates = [m for m in [*run.messages, *awaited.messages] if m["msg_type"] == "update_display_data"]
    assert {update["content"]["transient"]["display_id"] for update in updates} == {run.displays[0]["transient"]["display_id"]}
    last = timelines(awaited)[-1]
    assert (last["status"], last["result"]) == ("completed", "2.0")
    # What the activity printed is in the timeline, not in a cell.
    assert "loading abc" in json.dumps(last)
    assert awaited.printed == ""
    assert (kernel.folder / ".flowkernel" / "pipe.duckdb").exists()


def test_an_input_comes_back_as_it_was(kernel: Kernel) -> None:
    kernel.run(
        "import datetime as dt, enum\nfrom dataclasses import dataclass\nfrom flowkernel import workflow\n"
        "@dataclass\nclass Point:\n    x: int\n"
        "class Colour(enum.IntEnum):\n    RED = 1\n"
        "points = [Point(1), Point(2)]\ncolour = Colour.RED\nday = dt.datetime(2026, 1, 2)\n"
        "unrelated = open(__import__('os').devnull)"
    )
    code = "%%workflow typed --wait\nf'{points[1].x} {type(colour).__name__} {day.year} {type(points[0]) is Point}'"
    assert kernel.value(code) == "'2 Colour 2026 True'"


def test_the_line_magic(kernel: Kernel) -> None:
    kernel.run(ACTIVITIES)
    kernel.run(SIGNALLED)
    assert "pipe/approval" in (kernel.value("%workflow list --status running") or "")
    assert kernel.value("%workflow query approval answers") == "[]"
    assert "Waiting for a signal" in kernel.run("%workflow why approval").printed
    assert "still running" in error(kernel, "%workflow result approval")[1]
    assert "is not done after 0.1 s and goes on" in error(kernel, "%workflow wait approval --timeout 100ms")[1]
    assert kernel.run("%workflow signal approval approve {'by': 'me', 'ok': True}").printed == (
        "signal 'approve' recorded for pipe/approval\n"
    )
    assert kernel.value("%workflow wait approval") == "{'by': 'me', 'ok': True}"
    assert kernel.value("answer = %workflow result approval\nanswer['by']") == "'me'"
    history = kernel.value("%workflow history approval") or ""
    assert "WorkflowExecutionSignaled" in history
    assert kernel.value("%workflow history pipe/approval") == history
    shown = kernel.run("%workflow show approval")
    assert [timeline["status"] for timeline in timelines(shown)] == ["completed"]
    assert kernel.run("%workflow show approval;").result is None


def test_cancel_and_terminate(kernel: Kernel) -> None:
    kernel.run(ACTIVITIES)
    kernel.run("%%workflow one;\nawait workflow.sleep('1h')")
    kernel.run("%workflow cancel one")
    kind, text, _shown = error(kernel, "await one")
    assert (kind, text) == ("WorkflowFailed", "pipe/one was cancelled: CancelledError: Workflow cancelled")
    kernel.run("%%workflow two;\nawait workflow.sleep('1h')")
    kernel.run("%workflow terminate two --reason 'wrong input'")
    assert error(kernel, "two.wait(10)")[1] == "pipe/two was terminated: TerminatedError: wrong input"


def test_a_workflow_class(kernel: Kernel) -> None:
    code = """
from flowkernel import workflow

@workflow.defn
class Order:
    def __init__(self):
        self.approved = False

    @workflow.run
    async def run(self, number: int, *, unused: int = 0) -> dict:
        await workflow.wait_condition(lambda: self.approved)
        return {"number": number}

    @workflow.signal
    def approve(self):
        self.approved = True
"""
    assert kernel.run("%%workflow" + code).printed == "registered: Order\n"
    assert kernel.run("%%workflow order --input 17" + code).status == "ok"
    assert kernel.complete("%workflow signal order ") == ["approve"]
    kernel.run("%workflow signal order approve")
    assert kernel.value("await order") == "{'number': 17}"
    assert "is the workflow class itself" in error(kernel, "%%workflow Order --start" + code)[1]


def test_plain_cells_register_by_themselves(kernel: Kernel) -> None:
    kernel.run(ACTIVITIES)
    kernel.run(
        "@workflow.defn\nclass Plain:\n    @workflow.run\n    async def run(self, name: str) -> float:\n"
        "        return (await summarise(await load(name)))['mean']"
    )
    code = (
        "import flowkernel.notebook\n"
        "await flowkernel.notebook.client().execute_workflow(Plain.run, 'x', id='plain', task_queue='notebook')"
    )
    kernel.run("%workflow list")
    kernel.run("%%workflow first --wait\n1")
    assert kernel.value(code) == "2.0"


def test_running_a_cell_again_attaches_while_it_is_open(kernel: Kernel) -> None:
    kernel.run(ACTIVITIES)
    kernel.run(SIGNALLED)
    first = kernel.value("approval.run_id")
    again = kernel.run(SIGNALLED)
    assert again.printed == ""
    assert timelines(again)[0]["run_id"] == (first or "").strip("'")
    assert kernel.value("approval.run_id") == first
    kernel.run(SIGNALLED.replace("approval", "approval --new", 1))
    assert kernel.value("approval.run_id") != first
    kernel.run("%workflow signal approval approve 1")
    kernel.run("await approval")
    second = kernel.value("approval.run_id")
    kernel.run(SIGNALLED)
    assert kernel.value("approval.run_id") != second


def test_attaching_says_when_the_input_has_changed(kernel: Kernel) -> None:
    kernel.run(ACTIVITIES + "pause = '1h'\nlabel = 'a'")
    code = "%%workflow slow\nawait workflow.sleep(pause)\nlabel"
    kernel.run(code)
    kernel.run("label = 'b'")
    assert kernel.run(code).printed == (
        "Attached to the open execution pipe/slow, which was started with other values of label. "
        "To start anew with the present ones: %%workflow --new\n"
    )


def test_failing_code_shows_at_once_and_carries_on_when_it_is_fixed(kernel: Kernel) -> None:
    kernel.run(ACTIVITIES)
    kernel.run("%%workflow edit\nrows = await load('x')\ncount = {}\ncount['rows']")
    message = kernel.until(
        lambda m: m["msg_type"] == "update_display_data" and m["content"]["data"][MIME_TYPE]["status"] == "suspended"
    )
    timeline = message["content"]["data"][MIME_TYPE]
    assert timeline["code"]["problem"]["summary"] == "KeyError: 'rows'"
    assert timeline["code"]["problem"]["where"] == "cell line 4"
    kind, text, _shown = error(kernel, "await edit")
    assert kind == "SuspendedError"
    assert text.startswith("pipe/edit is suspended: its code raised KeyError: 'rows' (cell line 4). Fix the code")
    kernel.run("%%workflow edit\nrows = await load('x')\ncount = {'rows': len(rows)}\ncount['rows']")
    assert kernel.value("await edit") == "2"
    history = kernel.value("%workflow history edit") or ""
    assert history.count("ActivityTaskScheduled") == 1


def test_an_open_execution_that_lacks_an_input_says_so(kernel: Kernel) -> None:
    kernel.run(ACTIVITIES + "a = 1")
    kernel.run("%%workflow lacks\nawait workflow.sleep(0.01)\nnothing_yet = a\n1 / 0")
    kernel.run("import flowkernel.notebook; flowkernel.notebook.wait_until_settled(20)")
    kernel.run("b = 2")
    kernel.run("%%workflow lacks\nawait workflow.sleep(0.01)\na + b")
    settled = kernel.value("import flowkernel.notebook; flowkernel.notebook.wait_until_settled(20)") or ""
    assert "was not among the inputs when this execution started" in settled


def test_a_failed_activity_shows_the_chain_and_the_author_s_line(kernel: Kernel) -> None:
    kernel.run(ACTIVITIES)
    kernel.run("%%workflow bad --retry 'maximum_attempts=2, initial_interval=10ms'\nawait broken(7)")
    kind, text, shown = error(kernel, "await bad")
    assert (kind, text) == ("WorkflowFailed", "pipe/bad failed: IndexError: list index out of range")
    assert shown.splitlines()[:3] == [
        "WorkflowFailed: pipe/bad failed",
        "  activity broken failed (maximum attempts reached)",
        "    IndexError: list index out of range",
    ]
    assert "Cell In[2], line 14 in broken: return [1][n]" in shown
    assert len(shown.splitlines()) < 8
    caught = (
        "from flowkernel.client import WorkflowFailureError\n"
        "try:\n    await bad\nexcept WorkflowFailureError as e:\n    print(type(e.cause).__name__)"
    )
    assert kernel.run(caught).printed == "ActivityError\n"


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        ("%workflow lst", "UsageError", "unknown subcommand 'lst'. Did you mean list? See %workflow --help"),
        ("%workflow show", "UsageError", "the following arguments are required: ID. See %workflow show --help"),
        ("%workflow list --stats x", "UsageError", "unknown option --stats. Did you mean --status? See %workflow list --help"),
        ("%workflow show nonesuch", "CommandError", "no execution 'nonesuch'. %workflow list shows those there are."),
        ("%%workflow x --retyr 3\n1", "UsageError", "unknown option --retyr. Did you mean --retry? See %%workflow --help"),
        ("%%workflow x --input 3\n1", "UsageError", "--input is for a cell that defines a workflow class. A cell of statements"),
        ("%%workflow x\n# nothing", "UsageError", "the cell is empty. Write the workflow's code below the magic."),
        ("%%workflow x\nx + 1", "UsageError", "NAME 'x' is a variable that the cell itself reads."),
        ("%%workflow x\nunconvertible", "InputError", "'unconvertible' is a __main__.Unconvertible, which cannot be recorded"),
    ],
)
def test_bad_input_is_a_clear_error_and_starts_nothing(errors_kernel: Kernel, code: str, kind: str, text: str) -> None:
    found_kind, found_text, shown = error(errors_kernel, code)
    assert (found_kind, found_text[: len(text)]) == (kind, text)
    assert shown == f"{kind}: {found_text}"
    assert (errors_kernel.value("%workflow list") or "").startswith("No executions.")


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("%%workflow x\na = 1\nb = = 2", "  Cell In[{n}], line 3\n    b = = 2\n        ^\nSyntaxError: invalid syntax"),
        ("\n\n%%workflow x\nb = = 2", "  Cell In[{n}], line 4\n    b = = 2\n        ^\nSyntaxError: invalid syntax"),
        (
            "%%workflow x\na = 1\nsorce + a",
            "  Cell In[{n}], line 3\n    sorce + a\nNameError: name 'sorce' is not defined. Did you mean: 'source'?",
        ),
        (
            "%%workflow x\na = !ls",
            "  Cell In[{n}], line 2\n    a = !ls\n        ^\nSyntaxError: a workflow cell cannot use a shell command.",
        ),
    ],
)
def test_errors_of_the_body_point_at_the_cell_s_line(errors_kernel: Kernel, code: str, shown: str) -> None:
    number = int(errors_kernel.value("len(In) - 1") or "0") + 1
    assert error(errors_kernel, code)[2].startswith(shown.format(n=number))


def test_help_goes_to_the_cell(errors_kernel: Kernel) -> None:
    assert "subcommands (each has --help):\n  list " in errors_kernel.run("%workflow --help").printed
    assert "examples:\n  %workflow list" in errors_kernel.run("%workflow list --help").printed
    assert "examples:\n  %%workflow weather" in errors_kernel.run("%workflow help cell").printed
    assert "usage: %%workflow" in errors_kernel.run("%%workflow x --help\npass").printed


def test_completion(errors_kernel: Kernel) -> None:
    assert errors_kernel.complete("%workflow si") == ["signal"]
    assert errors_kernel.complete("%%workflow x --start") == ["--start", "--start-to-close"]
    assert "print" in errors_kernel.complete("%%workflow x\npri")


def test_interrupting_a_wait_detaches(kernel: Kernel) -> None:
    kernel.run(ACTIVITIES)
    kernel.run("%%workflow slow\nawait workflow.sleep('1h')")

    def interrupt_when_busy() -> None:
        kernel.until(lambda m: m["msg_type"] == "stream" and "waiting" in m["content"]["text"])
        for _ in range(2):  # a ticking timer is drawn once a second, so by the second time the cell waits
            kernel.until(lambda m: m["msg_type"] == "update_display_data")
        kernel.manager.interrupt_kernel()

    for code in ("print('waiting', flush=True)\nawait slow", "print('waiting', flush=True)\nslow.wait()"):
        run = kernel.run(code, before_reply=interrupt_when_busy)
        assert run.status == "error"
        assert run.error is not None
        assert run.error[2] == 'Detached: pipe/slow goes on in the background. To stop it: %workflow cancel "pipe/slow"'
    assert kernel.value("slow.status") == "'running'"


def test_a_killed_kernel_carries_on_in_the_next(start_kernel: Callable[[], Kernel], tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    define = (
        "from flowkernel import activity, workflow\nfrom pathlib import Path\n"
        "@activity.defn\ndef step(n: int) -> int:\n"
        f"    with open({str(log)!r}, 'a') as log: log.write(f'{{n}}\\n')\n"
        "    return n"
    )
    steps = (
        "%%workflow steps\nfirst = [await step(n) for n in range(3)]\ngo = []\nasync def on(v):\n    go.append(v)\n"
        "workflow.set_signal_handler('go', on)\nawait workflow.wait_condition(lambda: bool(go))\n"
        "first + [await step(n) for n in range(3, 5)]"
    )
    cells = ["%load_ext flowkernel", define, steps]
    one = start_kernel()
    for cell in cells:
        assert one.run(cell).status == "ok"
    one.value("from flowkernel.notebook.extension import active\n")
    assert one.value("active().publisher.wait_until(lambda: 'signal' in steps.timeline.waiting, 30)") == "True"
    pid = one.manager.provisioner.process.pid
    import os

    os.kill(pid, signal.SIGKILL)
    two = start_kernel()
    assert two.run(cells[0]).status == "ok"
    assert two.run(cells[1]).status == "ok"
    again = two.run(cells[2])
    assert again.printed.startswith("1 execution carries on: pipe/steps.")
    two.run("%workflow signal steps go 1")
    assert two.value("await steps") == "[0, 1, 2, 3, 4]"
    assert log.read_text().split() == ["0", "1", "2", "3", "4"]


def test_a_file_that_another_kernel_has_open(start_kernel: Callable[[], Kernel]) -> None:
    one, two = start_kernel(), start_kernel()
    one.run("%load_ext flowkernel")
    two.run("%load_ext flowkernel")
    one.run("%workflow list")
    kind, text, shown = error(two, "%workflow list")
    assert kind == "DatabaseInUse"
    assert f"in use by process {one.manager.provisioner.process.pid}" in text
    assert "pipe.ipynb" in text
    assert "%config FlowKernel.database" in text
    assert shown == f"DatabaseInUse: {text}"
    assert two.run("%config FlowKernel.database = 'other.duckdb'").status == "ok"
    assert (two.value("%workflow list") or "").startswith("No executions.")
    assert (two.folder / "other.duckdb").exists()


def test_a_corrupt_file(kernel: Kernel) -> None:
    (kernel.folder / "bad.duckdb").write_bytes(b"no database" * 1000)
    kernel.run("%config FlowKernel.database = 'bad.duckdb'")
    kind, text, _shown = error(kernel, "%workflow list")
    assert kind == "DatabaseCorrupt"
    assert "Restore it from a copy, or move it away" in text


STATE = """
import sys, threading, gc
ip = get_ipython()
def state():
    return (
        sorted(ip.magics_manager.magics['line']), sorted(ip.magics_manager.magics['cell']), sorted(ip.magics_manager.registry),
        len(ip.configurables), len(ip.Completer.custom_matchers), {k: len(v) for k, v in ip.events.callbacks.items()},
        sys.getswitchinterval(), sys.stdout is stdout,
    )
stdout = sys.stdout
before = state()
"""


def test_unloading_leaves_nothing_behind(start_kernel: Callable[[], Kernel]) -> None:
    kernel = start_kernel()
    kernel.run("%unload_ext nonesuch")  # IPython makes its own extension magics at their first use
    kernel.run(STATE)
    for _ in range(2):
        kernel.run("%load_ext flowkernel")
        kernel.run("from flowkernel import workflow")
        kernel.run("%%workflow slow\nawait workflow.sleep('1h')")
        assert kernel.value("sys.getswitchinterval() < 0.001") == "True"
        assert kernel.run("%unload_ext flowkernel").status == "ok"
    assert kernel.value("(before, state()) if before != state() else 'same'") == "'same'"
    gone = "[t.join(10) or t.name for t in threading.enumerate() if 'flowkernel' in t.name and (t.join(10) or t.is_alive())]"
    assert kernel.value(gone) == "[]"
    assert "was closed when the extension was unloaded" in error(kernel, "await slow")[1]
    kernel.run("%load_ext flowkernel")
    assert "pipe/slow" in (kernel.value("%workflow list") or "")


def test_loading_is_quick_and_imports_nothing_heavy(start_kernel: Callable[[], Kernel]) -> None:
    kernel = start_kernel()
    kernel.run("import time; began = time.perf_counter()\n%load_ext flowkernel\ntook = time.perf_counter() - began")
    assert kernel.value("[m for m in ('duckdb', 'ipywidgets', 'pandas', 'anywidget') if m in __import__('sys').modules]") == "[]"
    assert float(kernel.value("took") or "9") < 2.0
    kernel.run("%reload_ext flowkernel")
    assert kernel.run("%workflow --help").status == "ok"


def test_a_shutdown_closes_the_file_cleanly(start_kernel: Callable[[], Kernel]) -> None:
    one = start_kernel()
    one.run("%load_ext flowkernel\nfrom flowkernel import workflow")
    one.run("%%workflow slow\nawait workflow.sleep('1h')")
    began = time.monotonic()
    one.stop()
    assert time.monotonic() - began < 10
    assert not (one.folder / ".flowkernel" / "pipe.duckdb.wal").exists()


def test_settled_and_listed(kernel: Kernel) -> None:
    kernel.run(ACTIVITIES + "import flowkernel.notebook, json")
    assert kernel.value("flowkernel.notebook.open_executions_json()") == "'[]'"
    kernel.run("%%workflow a\nawait workflow.sleep('30ms')\n'done'")
    kernel.run("%%workflow b\n1 / 0")
    kernel.run("settled = json.loads(flowkernel.notebook.wait_until_settled(20))")
    assert kernel.value("[(e['workflow_id'], e['workflow_type'], e['status'], bool(e['waiting'])) for e in settled]") == (
        "[('pipe/a', 'a', 'completed', False), ('pipe/b', 'b', 'suspended', True)]"
    )
    kernel.run("%%workflow c\nawait workflow.sleep('1h')")
    kernel.run("settled = json.loads(flowkernel.notebook.wait_until_settled(0))")
    assert kernel.value("settled[-1]['status']") == "'running'"
