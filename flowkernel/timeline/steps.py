"""The steps of a run while they are being folded: activities with their attempts, and timers.

Events and records reach a step in any order (a reader may hand in all events first and all records after them), so a step only
notes facts; `bar` puts them in order. A bar that can no longer change is built once.
"""

from __future__ import annotations

from collections import deque

from flowkernel.model.events import (
    ActivityTaskScheduled,
    ActivityTaskStarted,
    Event,
    TimerStarted,
    UserMetadata,
)
from flowkernel.model.failures import Failure
from flowkernel.model.ids import MILLISECOND, Instant
from flowkernel.model.payloads import Payloads
from flowkernel.model.records import (
    ActivityAttemptFailed,
    ActivityAttemptReleased,
    ActivityAttemptStarted,
    ActivityHeartbeatRecorded,
    ActivityOutputCaptured,
    Record,
)
from flowkernel.timeline.model import Bar, OutputLine, Problem, Segment, SegmentKind, State
from flowkernel.timeline.preview import NAME_LIMIT, arguments, clean, one_line, preview, problem
from flowkernel.timeline.words import duration_words

__all__ = ["ActivityStep", "Clock", "TimerStep", "summary_of"]

OUTPUT_LINES = 20
_LINE_LIMIT = 400
_STEP_VALUE_LIMIT = 1_000
_KINDS: dict[State, SegmentKind] = {"queued": "queued", "backing off": "backoff"}


class Clock:
    """Turns instants into milliseconds after a run's start."""

    __slots__ = ("start",)

    def __init__(self, start: Instant) -> None:
        self.start = start

    def at(self, instant: Instant, not_before: float = 0.0) -> float:
        """Position of an instant; never before ``not_before``, should the machine's clock have gone back."""
        return max(round((instant - self.start) / MILLISECOND, 3), not_before)


def summary_of(metadata: UserMetadata | None) -> str:
    """The author's one-line summary, which is a JSON string."""
    if metadata is None or metadata.summary is None:
        return ""
    text = preview(metadata.summary, NAME_LIMIT)
    return one_line(text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text, NAME_LIMIT)


class _Attempt:
    """What is known of one attempt; 0 for an unknown time."""

    __slots__ = ("ended", "failure", "identity", "next_time", "released", "started")

    def __init__(self) -> None:
        self.started: Instant = 0
        self.ended: Instant = 0
        self.next_time: Instant = 0
        self.failure: Failure | None = None
        self.released = False
        self.identity = ""


class _Output:
    """The last lines of captured text."""

    def __init__(self) -> None:
        self._lines: deque[tuple[Instant, str, str, int]] = deque(maxlen=OUTPUT_LINES)
        self._count = 0
        self._unfinished = False

    @property
    def omitted(self) -> int:
        return self._count - len(self._lines)

    def add(self, record: ActivityOutputCaptured) -> None:
        pieces = record.text.split("\n")
        if self._unfinished and self._lines and self._lines[-1][1:4:2] == (record.stream, record.attempt):
            time, stream, text, attempt = self._lines.pop()
            self._lines.append((time, stream, (text + pieces.pop(0))[-4 * _LINE_LIMIT :], attempt))
            if not pieces:
                return
        self._unfinished = pieces[-1] != ""
        if not self._unfinished:
            pieces.pop()
        self._count += len(pieces)
        for piece in pieces[-OUTPUT_LINES:]:
            self._lines.append((record.time, record.stream, piece[-4 * _LINE_LIMIT :], record.attempt))

    def lines(self, clock: Clock) -> tuple[OutputLine, ...]:
        return tuple(
            # Of a progress bar that rewrites its line, the last state counts.
            OutputLine(clock.at(time), one_line(stream, 20), clean(text.rstrip("\r").rsplit("\r", 1)[-1], _LINE_LIMIT), attempt)
            for time, stream, text, attempt in self._lines
        )


class _Strip:
    """Segments laid end to end."""

    __slots__ = ("cursor", "segments")

    def __init__(self, start: float) -> None:
        self.cursor = start
        self.segments: list[Segment] = []

    def add(self, state: State, until: float | None, attempt: int, failed: Problem | None = None) -> None:
        """Lay the next segment; waits of no length are left out, and none ends before it starts."""
        kind = _KINDS.get(state, "attempt")
        end = None if until is None else max(until, self.cursor)
        if kind == "attempt" or end is None or end > self.cursor:
            self.segments.append(Segment(kind, state, self.cursor, end, attempt, failed))
        if end is not None:
            self.cursor = end


class ActivityStep:
    """An activity, from its scheduled event to its end."""

    def __init__(self, event: Event, scheduled: ActivityTaskScheduled) -> None:
        self._event = event
        self._scheduled = scheduled
        self._attempts: dict[int, _Attempt] = {}
        self._earlier_failure: Failure | None = None
        self._state: State | None = None
        self._ended: Instant = 0
        self._failure: Failure | None = None
        self._result: Payloads | None = None
        self._heartbeat: ActivityHeartbeatRecorded | None = None
        self._output = _Output()
        self._cancel_requested = False
        self._built: Bar | None = None

    def _attempt(self, number: int) -> _Attempt:
        return self._attempts.setdefault(number, _Attempt())

    def started(self, event: Event, started: ActivityTaskStarted) -> None:
        """The event that names the last attempt; its record, if there is one, knows the time better."""
        self._built = None
        attempt = self._attempt(started.attempt)
        attempt.started = attempt.started or event.event_time
        attempt.identity = started.identity or attempt.identity
        self._earlier_failure = started.last_failure

    def cancel_requested(self) -> None:
        """The code asked to cancel it."""
        self._built = None
        self._cancel_requested = True

    def close(self, time: Instant, state: State, *, failure: Failure | None = None, result: Payloads | None = None) -> None:
        """The event that ends it."""
        self._built = None
        self._ended, self._state, self._failure, self._result = time, state, failure, result

    def record(self, record: Record) -> None:
        """A fact beside the history."""
        self._built = None
        match record:
            case ActivityAttemptStarted():
                attempt = self._attempt(record.attempt)
                attempt.started, attempt.identity = record.time, record.identity
            case ActivityAttemptFailed():
                attempt = self._attempt(record.attempt)
                attempt.ended, attempt.failure, attempt.next_time = record.time, record.failure, record.next_attempt_time
            case ActivityAttemptReleased():
                self._attempt(record.attempt).released = True
            case ActivityHeartbeatRecorded():
                self._heartbeat = record
            case ActivityOutputCaptured():
                self._output.add(record)
            case _:
                pass

    def bar(self, clock: Clock, now: Instant, run_ended: Instant) -> Bar:
        """The bar as it is at ``now``; ``run_ended`` is 0 while the run is open."""
        if self._built is not None:
            return self._built
        state, ended = self._state, self._ended
        if state is None and run_ended:
            state, ended = "abandoned", run_ended
        bar = self._build(clock, now, state, ended)
        if state is not None:
            self._built = bar
        return bar

    def _build(self, clock: Clock, now: Instant, state: State | None, ended: Instant) -> Bar:
        scheduled, beat = self._scheduled, self._heartbeat
        segments, open_state, due = self._segments(clock, now, state, ended)
        start = clock.at(self._event.event_time)
        end = None if state is None else clock.at(ended, max(start, segments[-1].end or 0.0 if segments else 0.0))
        last = self._attempts[max(self._attempts)] if self._attempts else None
        failure = self._failure or (last.failure if last and state is None else None)
        policy = scheduled.retry_policy
        name = one_line(scheduled.activity_type, NAME_LIMIT) or "activity"
        return Bar(
            id=f"activity-{self._event.event_id}",
            kind="activity",
            label=name,
            state=state or open_state,
            start=start,
            end=end,
            name=name,
            summary=summary_of(self._event.user_metadata),
            task_queue=one_line(scheduled.task_queue, NAME_LIMIT),
            segments=tuple(segments),
            due=due,
            attempts=max(self._attempts, default=0),
            max_attempts=policy.maximum_attempts if policy else 0,
            cancel_requested=self._cancel_requested,
            inputs=arguments(scheduled.input, _STEP_VALUE_LIMIT),
            result=preview(self._result[0], _STEP_VALUE_LIMIT) if self._result else None,
            problem=problem(failure),
            heartbeat=", ".join(arguments(beat.details, 100)) if beat else "",
            heartbeat_at=clock.at(beat.time) if beat else None,
            output=self._output.lines(clock),
            output_omitted=self._output.omitted,
            identity=one_line(last.identity, NAME_LIMIT) if last else "",
            event_id=self._event.event_id,
        )

    def _segments(
        self, clock: Clock, now: Instant, state: State | None, ended: Instant
    ) -> tuple[list[Segment], State, float | None]:
        """The stretches in order, the state while open, and when the next attempt is due."""
        strip = _Strip(clock.at(self._event.event_time))
        ready = strip.cursor
        numbers = sorted(self._attempts)
        if numbers and numbers[0] > 1:  # a history from elsewhere: its earlier attempts were not recorded
            first = self._attempts[numbers[0]].started
            strip.add("backing off", clock.at(first or now, ready), numbers[0] - 1, problem(self._earlier_failure))
            ready = strip.cursor
        for index, number in enumerate(numbers):
            attempt, final = self._attempts[number], index == len(numbers) - 1
            begun = clock.at(attempt.started, strip.cursor) if attempt.started else max(strip.cursor, ready)
            strip.add("backing off", min(ready, begun), number - 1)
            strip.add("queued", begun, number)
            if attempt.ended:
                strip.add("failed", clock.at(attempt.ended), number, problem(attempt.failure))
                ready = clock.at(attempt.next_time, strip.cursor)
            elif not final:  # its end was not recorded: it lasted until the next began
                strip.add("failed", clock.at(self._attempts[numbers[index + 1]].started), number)
            elif state is not None:
                strip.add(state, clock.at(ended), number, problem(self._failure))
                return strip.segments, state, None
            else:
                open_state: State = "handed over" if attempt.released else "running"
                strip.add(open_state, None, number)
                return strip.segments, open_state, None
        return self._between_attempts(strip, clock, now, ended if state else 0, ready)

    def _between_attempts(
        self, strip: _Strip, clock: Clock, now: Instant, ended: Instant, ready: float
    ) -> tuple[list[Segment], State, float | None]:
        """No attempt runs: the activity waits for the next one, or waited until it ended."""
        number = max(self._attempts, default=0) + 1
        if ended:
            strip.add("backing off", min(ready, clock.at(ended)), number - 1)
            strip.add("queued", clock.at(ended), number)
            return strip.segments, "queued", None
        if clock.at(now) < ready:
            strip.add("backing off", None, number - 1)
            return strip.segments, "backing off", ready
        strip.add("backing off", ready, number - 1)
        strip.add("queued", None, number)
        return strip.segments, "queued", None


class TimerStep:
    """A timer, from its start to its firing."""

    def __init__(self, event: Event, started: TimerStarted) -> None:
        self._event = event
        self._started = started
        self._state: State | None = None
        self._ended: Instant = 0

    def close(self, time: Instant, state: State) -> None:
        """It fired or was cancelled."""
        self._ended, self._state = time, state

    def bar(self, clock: Clock, run_ended: Instant) -> Bar:
        """The bar; ``run_ended`` is 0 while the run is open."""
        state, ended = self._state, self._ended
        if state is None and run_ended:
            state, ended = "abandoned", run_ended
        start = clock.at(self._event.event_time)
        end = None if state is None else clock.at(ended, start)
        shown: State = state or "ticking"
        length = self._started.start_to_fire_timeout
        return Bar(
            id=f"timer-{self._event.event_id}",
            kind="timer",
            label=f"timer {duration_words(length / MILLISECOND)}",
            state=shown,
            start=start,
            end=end,
            name=one_line(self._started.timer_id, NAME_LIMIT),
            summary=summary_of(self._event.user_metadata),
            segments=(Segment("timer", shown, start, end),),
            due=clock.at(self._event.event_time + length, start),
            event_id=self._event.event_id,
        )
