"""Activities in processes of their own, for work that would hold the GIL.

A process is started by running this package's `process_main`, not by fork (DuckDB and threads do not survive one) and not
through ``multiprocessing``, which would import the main module again: a notebook has none that can be imported. Functions travel
by value (cloudpickle), arguments and results as payloads. A process lives on for the next activity, in a session of its own, so
that interrupting a cell does not kill it; it ends when this one does.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

from flowkernel.converter import DataConverter
from flowkernel.exceptions import ApplicationError, CancelledError
from flowkernel.model.payloads import Payloads
from flowkernel.replay import ActivityDefinition
from flowkernel.worker.context import ActivityContext, CompleteAsync
from flowkernel.worker.output import Captured
from flowkernel.worker.process_job import Job

_pickler: Any = cloudpickle  # comes without types
_dumps: Callable[[object], bytes] = _pickler.dumps


class ProcessDied(ApplicationError):
    """The process ended in the middle of an activity."""

    def __init__(self, activity_type: str, code: int | None) -> None:
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        super().__init__(f"the process that ran activity {activity_type!r} {how}", type="ProcessDied")


class _Child:
    """One process and the two lines to it: one for messages, one that breaks when this process ends."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        lifeline, their_end = os.pipe()
        command = [sys.executable, "-m", "flowkernel.worker.process_main", str(theirs.fileno()), str(lifeline)]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - this Python, with arguments from here
                command, pass_fds=(theirs.fileno(), lifeline), start_new_session=True, stdin=subprocess.DEVNULL, env=env
            )
        os.close(lifeline)
        self._lifeline = their_end
        self.connection = Connection(ours.detach())

    def kill(self) -> int | None:
        """End it now; returns how it ended."""
        with suppress(OSError):
            self.process.kill()
        code = self.process.wait()
        self.connection.close()
        with suppress(OSError):
            os.close(self._lifeline)
        return code


class ProcessPool:
    """Processes that wait for their next activity."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._closed = False

    def run(
        self,
        definition: ActivityDefinition,
        context: ActivityContext,
        args: Payloads,
        converter: DataConverter,
        captured: Captured,
    ) -> Payloads:
        """Run an attempt in a process, from the thread that looks after it.

        Raises:
            What the activity raised, read back from its failure; ProcessDied; CancelledError when it was asked to stop.
        """
        job = self._pack(definition, context, args, converter)
        child = self._take()
        finished = False
        context.on_cancel = child.process.kill
        try:
            if context.cancellation_details is not None:
                raise CancelledError
            child.connection.send_bytes(job)
            result = self._listen(child, context, captured, converter)
            finished = True
            return result
        except (EOFError, OSError):
            if context.cancellation_details is not None:
                raise CancelledError from None
            raise ProcessDied(definition.name or "?", child.process.wait()) from None
        except (Exception, CompleteAsync):
            finished = child.process.poll() is None
            raise
        finally:
            context.on_cancel = None
            if finished and not self._closed and context.cancellation_details is None:
                with self._lock:
                    self._idle.append(child)
            else:
                child.kill()

    def _take(self) -> _Child:
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.process.poll() is None:
                    return child
                child.kill()
        return _Child()

    @staticmethod
    def _pack(definition: ActivityDefinition, context: ActivityContext, args: Payloads, converter: DataConverter) -> bytes:
        # The codec stays here: what it holds, such as keys, may not be fit to travel.
        plain = dataclasses.replace(converter, payload_codec=None)
        level = logging.getLogger().level
        job = Job(definition.fn, definition.arg_types, definition.dynamic, args, context.info, plain, level)
        try:
            return _dumps(job)
        except Exception as error:
            raise ApplicationError(
                f"activity {definition.name!r} cannot be sent to a process of its own: {error}. Take what it uses as arguments, "
                f"or make it inside the function",
                type="NotPicklable",
                non_retryable=True,
            ) from error

    def _listen(
        self,
        child: _Child,
        context: ActivityContext,
        captured: Captured,
        converter: DataConverter,
    ) -> Payloads:
        while True:
            kind, content = child.connection.recv()
            if kind == "result":
                return content
            if kind == "output":
                captured.write(*content)
            elif kind == "heartbeat":
                context.heartbeat(*converter.payload_converter.from_payloads(content))
            elif kind == "released":
                raise CompleteAsync
            elif kind == "failure":
                raise converter.failure_converter.from_failure(content, converter.payload_converter)

    def close(self) -> None:
        """End the processes that wait."""
        self._closed = True
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.kill()
