from __future__ import annotations

import os
import queue
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import KernelManager

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
ANSWER_TIMEOUT = 60.0


class ThisInterpreter(KernelSpecManager):
    """Knows one kernel: ipykernel in the interpreter that runs the tests."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--HistoryManager.hist_file=:memory:"]
        return KernelSpec(argv=argv, display_name=kernel_name, language="python")


@dataclass
class Run:
    """What one cell did: its messages, and its reply's status."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    status: str = ""

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [message["content"] for message in self.messages if message["msg_type"] == kind]

    @property
    def printed(self) -> str:
        return "".join(content["text"] for content in self.of_type("stream"))

    @property
    def displays(self) -> list[dict[str, Any]]:
        return self.of_type("display_data")

    @property
    def result(self) -> str | None:
        found = self.of_type("execute_result")
        return found[-1]["data"]["text/plain"] if found else None

    @property
    def error(self) -> tuple[str, str, str] | None:
        """Class, text, and the traceback without colours."""
        found = self.of_type("error")
        if not found:
            return None
        return found[-1]["ename"], found[-1]["evalue"], _COLOURS.sub("", "\n".join(found[-1]["traceback"]))


class Kernel:
    """A real kernel, and what it published."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.manager = KernelManager(kernel_name="python3", kernel_spec_manager=ThisInterpreter())
        self.manager.start_kernel(cwd=str(folder), env=environment)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=ANSWER_TIMEOUT)

    def _send(self, code: str, cell_id: str) -> str:
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        message = self.client.session.msg("execute_request", content, metadata={"cellId": cell_id})
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def run(self, code: str, *, cell_id: str = "a1b2c3d4e5", before_reply: Callable[[], None] | None = None) -> Run:
        """Run a cell and take all its messages, updates of earlier cells' displays included."""
        message_id = self._send(code, cell_id)
        if before_reply is not None:
            before_reply()
        run = Run()
        while True:
            message = self.client.get_iopub_msg(timeout=ANSWER_TIMEOUT)
            own = message["parent_header"].get("msg_id") == message_id
            if own and message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
            run.messages.append(message)
        while True:
            reply = self.client.get_shell_msg(timeout=ANSWER_TIMEOUT)
            if reply["parent_header"].get("msg_id") == message_id:
                run.status = reply["content"]["status"]
                return run

    def value(self, code: str) -> str | None:
        """The shown value of a cell that must not fail."""
        run = self.run(code)
        assert run.status == "ok", run.error
        return run.result

    def until(self, wanted: Callable[[dict[str, Any]], bool], timeout: float = ANSWER_TIMEOUT) -> dict[str, Any]:
        """Take messages of the idle kernel until one is wanted."""
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=timeout)
            except queue.Empty:
                raise AssertionError("the kernel did not publish what was waited for") from None
            if wanted(message):
                return message

    def complete(self, code: str) -> list[str]:
        reply = self.client.complete(code, len(code), reply=True, timeout=ANSWER_TIMEOUT)
        return reply["content"]["matches"]

    def stop(self, *, now: bool = False) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=now)


@pytest.fixture(scope="module")
def errors_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One kernel for cells that start nothing."""
    folder = tmp_path_factory.mktemp("errors")
    environment = {**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1", "IPYTHONDIR": str(folder / "ipython")}
    environment.pop("FLOWKERNEL_DATABASE", None)
    made = Kernel(folder, environment)
    made.run("%load_ext flowkernel\nsource = 1\nclass Unconvertible: pass\nunconvertible = Unconvertible()")
    yield made
    made.stop(now=True)


@pytest.fixture
def start_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Kernel]]:
    """Starts kernels in one folder, with the notebook's name set."""
    monkeypatch.delenv("FLOWKERNEL_DATABASE", raising=False)
    kernels: list[Kernel] = []

    def start() -> Kernel:
        environment = {
            **os.environ,
            "JPY_SESSION_NAME": str(tmp_path / "pipe.ipynb"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "IPYTHONDIR": str(tmp_path / "ipython"),
        }
        kernel = Kernel(tmp_path, environment)
        kernels.append(kernel)
        return kernel

    yield start
    for kernel in kernels:
        if kernel.manager.has_kernel:
            kernel.stop(now=True)


@pytest.fixture
def kernel(start_kernel: Callable[[], Kernel]) -> Kernel:
    """A kernel with the extension loaded."""
    made = start_kernel()
    assert made.run("%load_ext flowkernel").status == "ok"
    return made
