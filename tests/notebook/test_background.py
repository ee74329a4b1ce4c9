from __future__ import annotations

import contextvars
import threading

import anyio
import pytest

from flowkernel.notebook.background import Background

cell = contextvars.ContextVar("cell", default="none")


@pytest.fixture
def background():
    made = Background("flowkernel-test")
    yield made
    made.close()
    assert not made.alive


def test_coroutines_run_on_its_daemon_thread_outside_of_the_cell_s_context(background: Background) -> None:
    cell.set("In[3]")

    async def look() -> tuple[str, bool, str]:
        thread = threading.current_thread()
        return thread.name, thread.daemon, cell.get()

    assert background.call(look) == ("flowkernel-test", True, "none")


def test_errors_come_back(background: Background) -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        background.call(fail)


def test_a_call_that_takes_too_long_is_cancelled(background: Background) -> None:
    cancelled = threading.Event()

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    with pytest.raises(TimeoutError):
        background.call(wait, timeout=0.01)
    assert cancelled.wait(5)


def test_closing_cancels_what_still_runs() -> None:
    background = Background("flowkernel-test")
    future = background.submit(anyio.sleep_forever)
    background.close()
    assert future.cancelled()
    assert not background.alive
    background.close()
