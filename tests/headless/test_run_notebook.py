"""Runs of small notebooks in real kernels."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from flowkernel.headless import CellStatus, PlainProgress, RunReport, run_notebook

pytestmark = pytest.mark.kernel


def outputs(report: RunReport, number: int) -> list[Any]:
    cells = [cell for cell in nbformat.read(report.output, as_version=4).cells if cell.cell_type == "code"]
    return cells[number - 1].outputs


def printed(report: RunReport, number: int) -> str:
    return "".join(output.text for output in outputs(report, number) if output.output_type == "stream")


def test_runs_in_this_interpreter_and_the_notebooks_folder(make_notebook: Any) -> None:
    path = make_notebook(
        "import os, sys\nprint(sys.executable)\nprint(os.getcwd())\nprint(__session__)",
        kernelspec={"name": "no-such-kernel", "display_name": "Gone", "language": "python"},
    )
    before = path.read_bytes()
    report = run_notebook(path)
    assert report.exit_code == 0
    assert printed(report, 1).splitlines() == [sys.executable, str(path.parent), str(path)]
    assert report.output == path.with_name("example.out.ipynb")
    assert path.read_bytes() == before
    assert sorted(file.name for file in path.parent.iterdir()) == ["example.ipynb", "example.out.ipynb"]


def test_late_output_goes_to_the_cell_that_caused_it(make_notebook: Any) -> None:
    path = make_notebook(
        "import asyncio\n"
        "from IPython.display import display\n"
        "go = asyncio.Event()\n"
        "handle = display('first', display_id='picture')\n"
        "async def later():\n"
        "    await go.wait()\n"
        "    print('late')\n"
        "    handle.update('second')\n"
        "    display('another')\n"
        "task = asyncio.create_task(later())",
        "print('in between')",
        "go.set()\nawait task\nprint('own')",
    )
    report = run_notebook(path)
    assert report.exit_code == 0
    first = outputs(report, 1)
    assert [output.output_type for output in first] == ["display_data", "stream", "display_data"]
    assert first[0].data["text/plain"] == "'second'"
    assert first[1].text == "late\n"
    assert first[2].data["text/plain"] == "'another'"
    assert printed(report, 2) == "in between\n"
    assert printed(report, 3) == "own\n"


def test_output_while_waiting_at_the_end_goes_to_the_last_cell(make_notebook: Any) -> None:
    waits = (
        "import sys, types, threading\n"
        "def wait_until_settled(timeout):\n"
        "    thread = threading.Thread(target=print, args=('during the wait',))\n"
        "    thread.start(); thread.join()\n"
        "    return '[]'\n"
        "sys.modules['flowkernel.notebook'] = types.SimpleNamespace(wait_until_settled=wait_until_settled)\n"
    )
    report = run_notebook(make_notebook(waits, "print('last')"))
    assert report.exit_code == 0
    assert printed(report, 2) == "last\nduring the wait\n"
    assert printed(report, 1) == ""


def test_updates_find_their_output_among_merged_streams(make_notebook: Any) -> None:
    path = make_notebook(
        "import sys\n"
        "from IPython.display import display\n"
        "for _ in range(3):\n"
        "    print('a', flush=True); print('b', file=sys.stderr, flush=True)\n"
        "handle = display('first', display_id=True)",
        "handle.update('second')",
    )
    first = outputs(run_notebook(path), 1)
    assert [output.output_type for output in first][-1] == "display_data"
    assert first[-1].data["text/plain"] == "'second'"
    assert "".join(output.text for output in first if output.get("name") == "stdout") == "a\na\na\n"


def test_carriage_returns_and_backspaces_take_effect(make_notebook: Any) -> None:
    path = make_notebook(
        "import sys\n"
        "for n in range(3):\n"
        "    sys.stdout.write(f'\\r{n} of 2'); sys.stdout.flush()\n"
        "print('\\nabd\\bc\\r')\nprint('end')"
    )
    assert printed(run_notebook(path), 1) == "2 of 2\nabc\r\nend\n"


def test_a_late_clear_does_not_touch_the_running_cell(make_notebook: Any) -> None:
    path = make_notebook(
        "import asyncio\n"
        "from IPython.display import clear_output\n"
        "go, cleared = asyncio.Event(), asyncio.Event()\n"
        "print('old')\n"
        "async def later():\n"
        "    await go.wait()\n"
        "    clear_output(wait=True)\n"
        "    cleared.set()\n"
        "    await go2.wait()\n"
        "    print('new')\n"
        "go2 = asyncio.Event()\n"
        "task = asyncio.create_task(later())",
        "print('kept')\ngo.set()\nawait cleared.wait()\nprint('also kept')\ngo2.set()\nawait task",
    )
    report = run_notebook(path)
    assert printed(report, 1) == "new\n"
    assert printed(report, 2) == "kept\nalso kept\n"


def test_a_failing_cell_ends_the_run_and_is_saved(make_notebook: Any) -> None:
    path = make_notebook("print('before')", "rows = []\nmean = 1 / len(rows)\nprint(mean)", "print('never')")
    report = run_notebook(path)
    assert report.exit_code == 1
    assert [cell.status for cell in report.cells] == [CellStatus.OK, CellStatus.FAILED]
    assert report.problem is not None
    assert report.problem.headline == "cell 2 of 3 (rows = []) failed"
    assert "->    2  mean = 1 / len(rows)" in report.problem.detail
    assert report.problem.detail.endswith("ZeroDivisionError: division by zero")
    assert printed(report, 1) == "before\n"
    assert outputs(report, 2)[0].ename == "ZeroDivisionError"
    assert outputs(report, 3) == []


def test_the_arrow_points_into_the_failing_function(make_notebook: Any) -> None:
    path = make_notebook("def half(n):\n    return n / zero", "half(4)")
    report = run_notebook(path)
    assert report.problem is not None
    assert "->    1  half(4)" in report.problem.detail
    assert "cell [1], line 2" in report.problem.detail
    assert report.problem.detail.endswith("NameError: name 'zero' is not defined")


def test_a_syntax_error_points_at_its_line(make_notebook: Any) -> None:
    report = run_notebook(make_notebook("x = 1\ny = = 2"))
    assert report.problem is not None
    assert "->    2  y = = 2" in report.problem.detail


def test_wrong_magic_usage_fails_the_run(make_notebook: Any) -> None:
    report = run_notebook(make_notebook("%no_such_magic"))
    assert report.exit_code == 1
    assert report.problem is not None
    assert "UsageError: Line magic function `%no_such_magic` not found." in report.problem.detail


def test_an_expected_failure_is_no_failure(make_notebook: Any) -> None:
    report = run_notebook(make_notebook(("raises-exception", "1 / 0"), ("skip-execution", "1 / 0"), "print('on')"))
    assert report.exit_code == 0
    assert [cell.status for cell in report.cells] == [CellStatus.EXPECTED, CellStatus.OK]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "the kernel was killed by SIGKILL in cell 2 of 3"),
        ("import os\nos._exit(3)", "the kernel exited with code 3 in cell 2 of 3"),
    ],
)
def test_a_dead_kernel_is_named(make_notebook: Any, source: str, said: str) -> None:
    report = run_notebook(make_notebook("print('before')", f"# Deadly\n{source}", "print('never')"))
    assert report.exit_code == 1
    assert report.problem is not None
    assert report.problem.headline == f"{said} (Deadly)"
    assert printed(report, 1) == "before\n"


def test_a_crash_in_native_code_leaves_its_last_words(make_notebook: Any) -> None:
    report = run_notebook(make_notebook("import faulthandler\nfaulthandler._sigsegv()"))
    assert report.problem is not None
    assert "was killed by SIGSEGV" in report.problem.headline
    assert "Fatal Python error: Segmentation fault" in report.problem.detail
    assert "line 2 in <module>" in report.problem.detail


def test_the_notebook_is_saved_before_and_after_each_cell(make_notebook: Any) -> None:
    look = "import json\ncells = json.load(open('example.out.ipynb'))['cells']\nprint([bool(cell['outputs']) for cell in cells])"
    report = run_notebook(make_notebook("print(1)", look, look))
    assert printed(report, 2) == "[True, False, False]\n"
    assert printed(report, 3) == "[True, True, False]\n"


def test_old_outputs_are_gone_from_the_start(make_notebook: Any) -> None:
    path = make_notebook("1 / 0", "print('never')")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="from last week")]
    nbformat.write(notebook, path)
    assert outputs(run_notebook(path), 2) == []


def test_sigterm_stops_the_run_and_saves(make_notebook: Any) -> None:
    stop = (
        "import os, signal, threading\n"
        "print('stopping', flush=True)\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "threading.Event().wait()"
    )
    report = run_notebook(make_notebook("print('before')", stop, "print('never')"))
    assert report.exit_code == 143
    assert report.problem is not None
    assert report.problem.headline.startswith("stopped by SIGTERM in cell 2 of 3")
    assert printed(report, 1) == "before\n"
    assert printed(report, 2) == "stopping\n"


def test_a_cell_that_takes_too_long(make_notebook: Any) -> None:
    report = run_notebook(make_notebook("import threading\nthreading.Event().wait()"), cell_timeout=1)
    assert report.exit_code == 1
    assert report.problem is not None
    assert report.problem.headline == "cell 1 of 1 (import threading) took longer than the 1 s that a cell may take"


def test_progress_lines(make_notebook: Any) -> None:
    stream = io.StringIO()
    path = make_notebook("md: # Weather\nText.", "import math", "# Count them\nmath.pi", "%%time\npass", "", "1 / 0")
    run_notebook(path, progress=PlainProgress(stream))
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("example.ipynb: 4 cells, Python 3.")
    assert [line.split(" s  ")[-1] for line in lines[1:]] == ["Weather", "Count them", "%%time", "1 / 0"]
    assert [line.split()[1] for line in lines[1:]] == ["ok", "ok", "ok", "FAILED"]


def test_output_elsewhere(make_notebook: Any, tmp_path: Path) -> None:
    report = run_notebook(make_notebook("print(1)"), tmp_path / "new" / "result.ipynb")
    assert report.output == tmp_path / "new" / "result.ipynb"
    assert printed(report, 1) == "1\n"
