"""The other side of `flowkernel.worker.processes`: runs activities that are sent to it, one at a time."""

from __future__ import annotations

import io
import os
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

from flowkernel.converter import DataConverter
from flowkernel.model.payloads import Payloads
from flowkernel.worker.context import ActivityContext, BothEvent, CompleteAsync, Info, current_activity


class _Sent(io.TextIOBase):
    """A standard stream whose text goes to the worker."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection, self._name = connection, name

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._connection.send(("output", (self._name, text)))
        return len(text)


def _end_with_parent(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(1)


def run(connection: Connection, fn: Any, hints: Any, args: Payloads, info: Info, converter: DataConverter) -> Payloads:
    """Run one activity here."""

    def heartbeat(*details: Any) -> None:
        connection.send(("heartbeat", tuple(converter.payload_converter.to_payloads(details))))

    context = ActivityContext(lambda: info, heartbeat, converter.payload_converter, None, BothEvent(None))
    token = current_activity.set(context)
    try:
        typed = list(hints) if hints is not None and len(hints) == len(args) else None
        result = fn(*converter.payload_converter.from_payloads(args, typed))
        return tuple(converter.payload_converter.to_payloads([result]))
    finally:
        current_activity.reset(token)


def main() -> None:
    """Serve until the worker goes away."""
    connection = Connection(int(sys.argv[1]))
    threading.Thread(target=_end_with_parent, args=(int(sys.argv[2]),), daemon=True).start()
    sys.stdout, sys.stderr = _Sent(connection, "stdout"), _Sent(connection, "stderr")
    while True:
        try:
            blob = connection.recv_bytes()
        except EOFError:
            return
        fn, hints, args, info, converter = cloudpickle.loads(blob)
        try:
            answer = ("result", run(connection, fn, hints, args, info, converter))
        except CompleteAsync:
            answer = ("released", None)
        except Exception as error:  # noqa: BLE001 - whatever an author's code raises is the attempt's outcome
            answer = ("failure", converter.failure_converter.to_failure(error, converter.payload_converter))
        connection.send(answer)


if __name__ == "__main__":
    main()
