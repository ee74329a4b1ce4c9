"""Progress in a log and in a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from flowkernel.headless import CellReport, CellStatus, ExecutionReport, LiveProgress, PlainProgress, Progress, progress_for


def tell(progress: Progress) -> None:
    progress.begin("report.ipynb", 2, "Python 3.11.7")
    progress.cell_begin(1, "Load [the] data")
    progress.execution(ExecutionReport("weather", "run-1", "Weather", "running", "waits for activity load"))
    progress.execution(ExecutionReport("weather", "run-1", "Weather", "running", "waits for a timer"))
    progress.cell_end(CellReport(1, 0, "Load [the] data", CellStatus.OK, 0.25))
    progress.cell_begin(2, "x")
    progress.cell_end(CellReport(2, 1, "x", CellStatus.FAILED, 61.0))
    progress.wait((ExecutionReport("weather", "run-1", "Weather", "running", "waits for a timer"),))
    progress.tick()
    progress.execution(ExecutionReport("weather", "run-1", "Weather", "completed", "", "Done after 2 s"))
    progress.end()


def test_a_log_gets_one_line_per_cell_and_status() -> None:
    stream = io.StringIO()
    tell(PlainProgress(stream))
    assert stream.getvalue() == (
        "report.ipynb: 2 cells, Python 3.11.7\n"
        "      weather: running\n"
        "  [1/2] ok        0.2 s  Load [the] data\n"
        "  [2/2] FAILED   61.0 s  x\n"
        "  waiting for weather\n"
        "      weather: completed. Done after 2 s\n"
    )


def test_a_terminal_keeps_the_lines_and_draws_the_rest_in_place() -> None:
    stream = io.StringIO()
    tell(LiveProgress(Console(file=stream, force_terminal=True, width=100, color_system=None, legacy_windows=False)))
    text = stream.getvalue()
    assert "  [1/2] ok        0.2 s  Load [the] data" in text
    assert "  [2/2] FAILED   61.0 s  x" in text
    assert "waiting for weather  0." in text
    assert "weather: running. waits for a timer" in text
    assert "weather: completed. Done after 2 s\n" in text


def test_the_stream_decides() -> None:
    assert isinstance(progress_for(io.StringIO()), PlainProgress)
