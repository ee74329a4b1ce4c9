"""Lengths of time as people write them: ``timedelta``, seconds, or text such as ``"1h30m"``; as nanoseconds inside."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from decimal import Decimal

from flowkernel.model.errors import FlowkernelError
from flowkernel.model.ids import DAY, HOUR, MICROSECOND, MILLISECOND, MINUTE, SECOND, Duration

__all__ = ["ACCEPTED_FORMS", "LONGEST", "InvalidDurationError", "duration", "to_timedelta"]

ACCEPTED_FORMS = '30 or 1.5 (seconds), "30s", "500ms", "2 minutes", "1h30m", "1d 12h", or timedelta(minutes=2)'
"""What `duration` takes, for messages and help texts."""

LONGEST: Duration = 36_525 * DAY
"""100 years. Instants are kept in 64 bits, so an end of time is needed; this one leaves room for adding."""

_UNITS: dict[str, Duration] = {
    **dict.fromkeys(("ns", "nanosecond", "nanoseconds"), 1),
    **dict.fromkeys(("us", "µs", "μs", "microsecond", "microseconds"), MICROSECOND),
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), MILLISECOND),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), SECOND),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), MINUTE),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), HOUR),
    **dict.fromkeys(("d", "day", "days"), DAY),
    **dict.fromkeys(("w", "week", "weeks"), 7 * DAY),
}
_PART = re.compile(r"\s*(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(?P<unit>[a-zµμ]*)\s*,?", re.IGNORECASE | re.ASCII)


class InvalidDurationError(FlowkernelError, ValueError):
    """What was given is no length of time. Fix the call; nothing was written."""

    def __init__(self, given: object, problem: str) -> None:
        super().__init__(f"{given!r} {problem}. A duration is, for example, {ACCEPTED_FORMS}")
        self.given = given

    def named(self, option: str) -> InvalidDurationError:
        """The same error, saying which option it was."""
        self.args = (f"{option}: {self}",)
        return self


def duration(value: timedelta | float | str) -> Duration:
    """Convert a length of time to nanoseconds.

    Args:
        value: a timedelta; a number of seconds; or text: numbers with units from ns to w (weeks), added up. Text without a
            unit is seconds.
    Raises:
        InvalidDurationError: it is none of these, negative, not finite, or longer than 100 years.
    """
    if isinstance(value, timedelta):
        nanoseconds = (value.days * 86_400 + value.seconds) * SECOND + value.microseconds * MICROSECOND
    elif isinstance(value, str):
        nanoseconds = _from_text(value)
    else:
        nanoseconds = _from_seconds(value)
    if nanoseconds < 0:
        raise InvalidDurationError(value, "is negative")
    if nanoseconds > LONGEST:
        raise InvalidDurationError(value, "is longer than 100 years")
    return nanoseconds


def to_timedelta(nanoseconds: Duration) -> timedelta:
    """The other way; a timedelta counts microseconds, so what is finer is cut off."""
    return timedelta(microseconds=nanoseconds // MICROSECOND)


def _from_seconds(value: object) -> Duration:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidDurationError(value, "is no duration")
    if not math.isfinite(value):
        raise InvalidDurationError(value, "is not finite")
    # Through Decimal's shortest form, so that 0.1 is 100 ms and not 100,000,000.000000005 ns.
    return int((Decimal(repr(float(value))) if isinstance(value, float) else Decimal(int(value))) * SECOND)


def _from_text(text: str) -> Duration:
    total = Decimal(0)
    position = 0
    parts = 0
    while position < len(text) and not text[position:].isspace():
        part = _PART.match(text, position)
        if part is None:
            raise InvalidDurationError(text, "is no duration")
        parts += 1
        position = part.end()
        total += Decimal(part["number"]) * _unit(text, part["unit"], alone=parts == 1 and not text[position:].strip())
    if not parts:
        raise InvalidDurationError(text, "is no duration")
    return int(total)


def _unit(text: str, unit: str, *, alone: bool) -> Duration:
    if not unit and alone:
        return SECOND
    # "M" is no month here, and "m" never a month; case is ignored as people write "30S" and "2 Minutes".
    size = _UNITS.get(unit.lower())
    if size is None:
        raise InvalidDurationError(text, f"has the unknown unit {unit!r}" if unit else "has a number without a unit")
    return size
