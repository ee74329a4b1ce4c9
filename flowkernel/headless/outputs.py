"""An nbclient that keeps what arrives after its cell.

Stock nbclient drops every message whose parent is not the cell that runs now. A workflow that goes on in the background
prints and updates its display long after its cell returned, so here every message finds the cell it belongs to: its parent's.

Stream texts are merged as they come, not after the cell as ``coalesce_streams`` does it: that renumbers the outputs, and a later
`update_display_data` would then change the wrong one.
"""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Callable
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode

__all__ = ["KernelAnswerError", "OutputKeepingClient"]

_OUTPUT_TYPES = frozenset({"stream", "display_data", "execute_result", "error", "clear_output", "update_display_data"})
_RETURNED = re.compile(r"[^\n]*\r+(?=[^\n\r])")
_ERASED = re.compile(r"[^\n\x08]\x08")
_OUTPUT_GRACE = 4.0


class KernelAnswerError(Exception):
    """The kernel could not work out what it was asked on the run's behalf."""


class OutputKeepingClient(NotebookClient):
    """Runs cells of one notebook and puts every output into the cell that caused it.

    Attributes:
        changed: called after each change of an output.
        shown: called with the data of each display, new or updated, and the place of its cell.
    """

    def __init__(self, nb: NotebookNode, km: AsyncKernelManager, *, cell_timeout: int | None, startup_timeout: int) -> None:
        super().__init__(
            nb,
            km=km,
            timeout=cell_timeout,
            startup_timeout=startup_timeout,
            store_widget_state=False,
            record_timing=False,
        )
        self.changed: Callable[[], None] = lambda: None
        self.shown: Callable[[dict[str, Any], int], None] = lambda _data, _index: None
        self._parents: dict[str, tuple[NotebookNode, int]] = {}
        self._clear_pending: set[int] = set()
        self._current: tuple[NotebookNode, int] | None = None

    async def ask(self, expression: str, limit: float | None = None) -> str:
        """Evaluate an expression to a string in the kernel, unseen: no history, no prompt, no output of its own.

        What else prints meanwhile goes to the cell that ran last.

        Raises:
            KernelAnswerError: the expression raised, or took longer than ``limit`` seconds.
            DeadKernelError: the kernel is gone.
        """
        assert self.kc is not None
        kernel: Any = self.kc
        message_id: str = kernel.execute("", silent=True, store_history=False, user_expressions={"answer": expression})
        if self._current is not None:
            self._parents[message_id] = self._current
        outputs = asyncio.ensure_future(self._take_until_idle(message_id))
        reply = asyncio.ensure_future(self._reply_to(message_id))
        death = asyncio.ensure_future(self._death())
        try:
            done, _ = await asyncio.wait({reply, death}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise KernelAnswerError(f"no answer within {limit} s")
            if not reply.done():
                raise DeadKernelError("Kernel died")
            await asyncio.wait({outputs}, timeout=_OUTPUT_GRACE)
        finally:
            for task in (outputs, reply, death):
                task.cancel()
            await asyncio.gather(outputs, reply, death, return_exceptions=True)
        content: dict[str, Any] = reply.result()["content"]
        answer: dict[str, Any] = content.get("user_expressions", {}).get("answer", content)
        if answer.get("status") != "ok":
            raise KernelAnswerError(f"{answer.get('ename', 'error')}: {answer.get('evalue', answer.get('status'))}")
        return str(ast.literal_eval(answer["data"]["text/plain"]))

    async def _reply_to(self, message_id: str) -> dict[str, Any]:
        assert self.kc is not None
        while True:
            message: dict[str, Any] = await self.kc.shell_channel.get_msg(timeout=None)
            if message["parent_header"].get("msg_id") == message_id:
                return message

    async def _death(self) -> None:
        manager: Any = self.km
        while await manager.is_alive():  # noqa: ASYNC110 (a process gives no event to wait for)
            await asyncio.sleep(0.5)

    async def _async_poll_output_msg(self, parent_msg_id: str, cell: NotebookNode, cell_index: int) -> None:
        self._current = self._parents[parent_msg_id] = (cell, cell_index)
        await self._take_until_idle(parent_msg_id, running=self._current)
        if self.clear_before_next_output:
            self._clear_pending.add(cell_index)

    async def _take_until_idle(self, message_id: str, running: tuple[NotebookNode, int] | None = None) -> None:
        assert self.kc is not None
        while True:
            message: dict[str, Any] = await self.kc.iopub_channel.get_msg(timeout=None)
            parent = message["parent_header"].get("msg_id")
            if message["msg_type"] == "status":
                if parent == message_id and message["content"]["execution_state"] == "idle":
                    return
            elif parent == message_id and running is not None:
                self._take(message, *running)
            elif message["msg_type"] in _OUTPUT_TYPES:
                self._take_late(message, self._parents.get(parent))

    def _take_late(self, message: dict[str, Any], owner: tuple[NotebookNode, int] | None) -> None:
        if owner is None:
            # Updates find their outputs by display id, whoever sent them.
            if message["msg_type"] == "update_display_data":
                self._take(message, NotebookNode(outputs=[]), -1)
            return
        # nbclient keeps one "clear before the next output" for the cell that runs; a late message must not use that up.
        current, self.clear_before_next_output = self.clear_before_next_output, owner[1] in self._clear_pending
        self._take(message, *owner)
        if self.clear_before_next_output:
            self._clear_pending.add(owner[1])
        else:
            self._clear_pending.discard(owner[1])
        self.clear_before_next_output = current

    def _take(self, message: dict[str, Any], cell: NotebookNode, cell_index: int) -> None:
        self.process_message(message, cell, cell_index)
        if message["msg_type"] in _OUTPUT_TYPES:
            self.changed()
            data = message["content"].get("data")
            if data:
                self.shown(data, cell_index)

    def output(
        self, outs: list[NotebookNode], msg: dict[str, Any], display_id: str | None, cell_index: int
    ) -> NotebookNode | None:
        """Add an output; a stream text joins the one before it, and carriage returns and backspaces take effect."""
        if msg["msg_type"] != "stream":
            return super().output(outs, msg, display_id, cell_index)
        last = outs[-1] if outs else None
        joins = last is not None and last["output_type"] == "stream" and last["name"] == msg["content"]["name"]
        if last is None or not joins or self.clear_before_next_output:
            last = super().output(outs, msg, display_id, cell_index)
        else:
            last["text"] += msg["content"]["text"]
        if last is not None:
            last["text"] = _as_shown(last["text"])
        return last


def _as_shown(text: str) -> str:
    """Apply backspaces, and drop what a carriage return lets later text overwrite."""
    if "\b" in text:
        while (shorter := _ERASED.sub("", text)) != text:
            text = shorter
    return _RETURNED.sub("", text) if "\r" in text else text
