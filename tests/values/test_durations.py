from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkernel.durations import ACCEPTED_FORMS, InvalidDurationError, duration, to_timedelta
from flowkernel.model.ids import DAY, HOUR, MICROSECOND, MILLISECOND, MINUTE, SECOND


@pytest.mark.parametrize(
    ("written", "nanoseconds"),
    [
        ("30s", 30 * SECOND),
        ("30", 30 * SECOND),
        ("2 minutes", 2 * MINUTE),
        ("1h30m", 90 * MINUTE),
        ("1 h, 30 min", 90 * MINUTE),
        ("1d 12h", 36 * HOUR),
        ("2 Weeks", 14 * DAY),
        ("500ms", 500 * MILLISECOND),
        ("500 µs", 500 * MICROSECOND),
        ("7ns", 7),
        ("1.5s", 1500 * MILLISECOND),
        (".5h", 30 * MINUTE),
        ("0.1s", 100 * MILLISECOND),
        ("0", 0),
        (5, 5 * SECOND),
        (0.1, 100 * MILLISECOND),
        (1e-9, 1),
        (timedelta(days=1, microseconds=1), DAY + MICROSECOND),
    ],
)
def test_what_people_write(written: timedelta | float | str, nanoseconds: int) -> None:
    assert duration(written) == nanoseconds


@pytest.mark.parametrize(
    ("given_value", "problem"),
    [
        ("", "is no duration"),
        ("soon", "is no duration"),
        ("-5s", "is no duration"),
        ("5 fortnights", "has the unknown unit 'fortnights'"),
        ("1h30", "has a number without a unit"),
        ("1e3", "unknown unit 'e'"),
        (-1, "is negative"),
        (timedelta(seconds=-1), "is negative"),
        (float("nan"), "is not finite"),
        (float("inf"), "is not finite"),
        (True, "is no duration"),
        (None, "is no duration"),
        ("101 d 5000 weeks 9999999 h", "is longer than 100 years"),
        (1e300, "is longer than 100 years"),
    ],
)
def test_what_is_no_duration(given_value: object, problem: str) -> None:
    with pytest.raises(InvalidDurationError) as refused:
        duration(given_value)  # type: ignore[arg-type]
    text = str(refused.value)
    assert repr(given_value) in text
    assert problem in text
    assert ACCEPTED_FORMS in text
    assert isinstance(refused.value, ValueError)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=36_525)))
def test_timedeltas_come_back_exactly(value: timedelta) -> None:
    assert to_timedelta(duration(value)) == value


@given(st.integers(0, 10**6), st.integers(0, 59), st.integers(0, 999))
def test_parts_add_up(hours: int, minutes: int, milliseconds: int) -> None:
    hours %= 800_000
    expected = hours * HOUR + minutes * MINUTE + milliseconds * MILLISECOND
    assert duration(f"{hours}h {minutes}m {milliseconds}ms") == expected


@given(st.text())
def test_any_text_is_a_duration_or_a_clear_error(text: str) -> None:
    try:
        outcome: object = duration(text)
    except InvalidDurationError as error:
        outcome = str(error)
    assert isinstance(outcome, int) or repr(text) in str(outcome)
