"""The other side of `flowkernel.worker.processes`: runs activities that are sent to it, one at a time."""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

from flowkernel.common import RawValue
from flowkernel.converter.naming import always, to_payloads
from flowkernel.model.payloads import Payloads
from flowkernel.worker.context import ActivityContext, BothEvent, CompleteAsync, current_activity
from flowkernel.worker.process_job import Job


class _Line:
    """The connection to the worker, for any thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, kind: str, content: Any) -> None:
        with self._lock:
            self._connection.send((kind, content))


class _Sent(io.TextIOBase):
    """A standard stream whose text goes to the worker."""

    def __init__(self, line: _Line, name: str) -> None:
        self._line, self._name = line, name

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._line.send("output", (self._name, text))
        return len(text)


def _send_records(line: _Line) -> Any:
    """What stands in for ``Logger.handle``: log records go to the worker, and not once more to standard error."""

    def handle(_: logging.Logger, record: logging.LogRecord) -> None:
        line.send("output", ("log", f"{record.levelname} {record.name}: {record.getMessage()}\n"))

    return handle


def _end_with_parent(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(1)


def run(line: _Line, job: Job) -> Payloads:
    """Run one activity here."""
    converter = job.converter.payload_converter

    def heartbeat(*details: Any) -> None:
        line.send("heartbeat", tuple(to_payloads(converter, details, always("heartbeat: detail"))))

    context = ActivityContext(lambda: job.info, heartbeat, converter, None, BothEvent(None))
    token = current_activity.set(context)
    logging.root.setLevel(job.log_level)
    try:
        if job.dynamic:
            args: list[Any] = [[RawValue(payload) for payload in job.args]]
        else:
            typed = list(job.hints) if job.hints is not None and len(job.hints) == len(job.args) else None
            args = converter.from_payloads(job.args, typed)
        result = job.fn(*args)
        return tuple(to_payloads(converter, [result], always(f"activity {job.info.activity_type!r}: its result")))
    finally:
        current_activity.reset(token)


def main() -> None:
    """Serve until the worker goes away."""
    connection = Connection(int(sys.argv[1]))
    line = _Line(connection)
    threading.Thread(target=_end_with_parent, args=(int(sys.argv[2]),), daemon=True).start()
    sys.stdout, sys.stderr = _Sent(line, "stdout"), _Sent(line, "stderr")
    logging.Logger.handle = _send_records(line)
    while True:
        try:
            blob = connection.recv_bytes()
        except EOFError:
            return
        job: Job = cloudpickle.loads(blob)
        try:
            line.send("result", run(line, job))
        except CompleteAsync:
            line.send("released", None)
        except Exception as error:  # noqa: BLE001 - whatever an author's code raises is the attempt's outcome
            line.send("failure", job.converter.failure_converter.to_failure(error, job.converter.payload_converter))


if __name__ == "__main__":
    main()
