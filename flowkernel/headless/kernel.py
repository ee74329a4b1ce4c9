"""The kernel of a headless run: this very interpreter, in a process of its own.

A notebook names a kernel, and on a build machine that name is often unknown. Which packages count is decided by the
environment that ``flowkernel`` runs in, so that is where the kernel comes from, whatever the notebook says.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager

__all__ = ["HeadlessKernel"]

_LAST_LINES = 12


class _ThisInterpreter(KernelSpecManager):
    """Knows one kernel: ipykernel in the running interpreter."""

    crash_log: str = os.devnull

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return that kernel, by whatever name it is asked for."""
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--HistoryManager.hist_file=:memory:"]
        # A kernel sends its file descriptors 1 and 2 to the front end; what a crash writes there dies with it.
        argv.append(f"--IPKernelApp.exec_lines=__import__('faulthandler').enable(open({self.crash_log!r}, 'a'), False)")
        metadata = {"debugger": True, "supported_encryption": ["curve"]}
        return KernelSpec(argv=argv, display_name=kernel_name, language="python", metadata=metadata)


class HeadlessKernel:
    """Starts the kernel for a notebook, and knows how it ended."""

    def __init__(self, notebook: Path) -> None:
        self._spec = _ThisInterpreter()
        self._log: IO[bytes] | None = None
        self.manager: Any = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=self._spec, transport_encryption="auto")
        self._notebook = notebook

    async def start(self) -> None:
        """Start the process in the notebook's folder, under the notebook's name (kernels read it from JPY_SESSION_NAME)."""
        self._log = tempfile.NamedTemporaryFile(prefix="flowkernel-", suffix=".log")  # noqa: SIM115 (until `close`)
        self._spec.crash_log = self._log.name
        env = {**os.environ, "JPY_SESSION_NAME": str(self._notebook), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        await self.manager.start_kernel(cwd=str(self._notebook.parent), env=env, stdout=self._log, stderr=self._log)

    async def stop(self, *, at_once: bool = False) -> None:
        """End the process; with ``at_once`` by SIGKILL, else it may close its database first."""
        if self.manager.has_kernel:
            await self.manager.shutdown_kernel(now=at_once)

    async def interrupt(self) -> None:
        """Send the process SIGINT: it raises KeyboardInterrupt in the running cell."""
        await self.manager.interrupt_kernel()

    async def ending(self) -> str:
        """Say how the process ended, for example ``was killed by SIGKILL``."""
        provisioner: Any = self.manager.provisioner
        code = None if provisioner is None else await provisioner.poll()
        if code is None:
            return "stopped answering"
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"exited with code {code}"

    def last_words(self) -> str:
        """Return the last lines that the process itself wrote; of a crash in native code, where it happened."""
        if self._log is None:
            return ""
        lines = Path(self._log.name).read_text(encoding="utf-8", errors="replace").splitlines()
        crash = next((number for number, line in enumerate(lines) if line.startswith("Fatal Python error")), None)
        return "\n".join(lines[-_LAST_LINES:] if crash is None else lines[crash : crash + _LAST_LINES])

    def close(self) -> None:
        """Forget what the process wrote."""
        if self._log is not None:
            self._log.close()
