from __future__ import annotations

from flowkernel.converter import DataConverter
from flowkernel.exceptions import TerminatedError
from flowkernel.model.failures import ActivityFailure, ApplicationFailure, Failure, RetryState
from flowkernel.notebook.failed import WorkflowFailed, author_lines

TRACE = """Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/flowkernel/worker/activities.py", line 9, in _run
    return fn(*args)
  File "/tmp/ipykernel_77/123.py", line 4, in load
    return parse(text)
  File "/home/me/parse.py", line 8, in parse
    raise ValueError("no rows")
  File "/usr/lib/python3.11/json/decoder.py", line 3, in decode
    x
ValueError: no rows
"""


def place_of(filename: str) -> str | None:
    return "Cell In[5]" if "ipykernel" in filename else None


def test_only_the_author_s_lines_are_shown() -> None:
    assert author_lines(TRACE, place_of) == [
        "Cell In[5], line 4 in load: return parse(text)",
        '/home/me/parse.py, line 8 in parse: raise ValueError("no rows")',
    ]
    assert author_lines("", place_of) == []


def test_a_failed_activity_shows_as_a_chain() -> None:
    info = ActivityFailure(5, 6, "w", "load", "1", RetryState.MAXIMUM_ATTEMPTS_REACHED)
    cause = Failure("no rows", ApplicationFailure("ValueError"), stack_trace=TRACE)
    converter = DataConverter.default
    failure = Failure("Activity task failed", info, cause)
    error = converter.failure_converter.from_failure(failure, converter.payload_converter)
    failed = WorkflowFailed("pipe/etl", error, place_of)
    assert str(failed) == "pipe/etl failed: ValueError: no rows"
    assert failed.cause is error
    assert "\n".join(failed._render_traceback_()) == (
        "WorkflowFailed: pipe/etl failed\n"
        "  activity load failed (maximum attempts reached)\n"
        "    ValueError: no rows\n"
        "        Cell In[5], line 4 in load: return parse(text)\n"
        '        /home/me/parse.py, line 8 in parse: raise ValueError("no rows")\n'
        'The whole story: %workflow history "pipe/etl"'
    )


def test_other_endings() -> None:
    failed = WorkflowFailed("pipe/etl", TerminatedError("wrong input"))
    assert str(failed) == "pipe/etl was terminated: TerminatedError: wrong input"
