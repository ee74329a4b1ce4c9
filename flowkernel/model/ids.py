"""Names of things: workflow ids, run ids, event ids, instants and durations."""

from __future__ import annotations

from typing import NewType, TypeAlias

import msgspec

WorkflowId = NewType("WorkflowId", str)
"""What people call an execution; unique among the open executions of a namespace. At most 1,000 characters."""

RunId = NewType("RunId", str)
"""One run of an execution: a UUIDv7 in its canonical text form."""

EventId: TypeAlias = int
"""Position of an event in its run's history, from 1."""

Instant: TypeAlias = int
"""A point in time: nanoseconds since the Unix epoch, UTC."""

Duration: TypeAlias = int
"""A length of time in nanoseconds. Where Temporal says "no timeout", it is 0."""

MICROSECOND: Duration = 1_000
MILLISECOND: Duration = 1_000_000
SECOND: Duration = 1_000_000_000
MINUTE: Duration = 60 * SECOND
HOUR: Duration = 60 * MINUTE
DAY: Duration = 24 * HOUR

FIRST_EVENT_ID: EventId = 1


class RunRef(msgspec.Struct, frozen=True, gc=False):
    """The full address of a run."""

    namespace: str
    workflow_id: WorkflowId
    run_id: RunId

    def __str__(self) -> str:
        return f"{self.workflow_id} ({self.run_id})"


def uuid7(now: Instant, entropy: bytes) -> str:
    """Build a UUIDv7 (RFC 9562, section 5.7) from an instant and randomness that the caller supplies.

    Args:
        now: goes in with millisecond resolution.
        entropy: 10 bytes; six bits of it are overwritten by version and variant.
    """
    bits = ((now // MILLISECOND) & ((1 << 48) - 1)) << 80 | int.from_bytes(entropy[:10], "big")
    bits = bits & ~(0xF << 76) | 0x7 << 76
    bits = bits & ~(0x3 << 62) | 0x2 << 62
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
