"""The timeline in words: durations, and the one sentence that says why a run waits now.

A sentence names everything that is pending, because code that waits for three things goes on with whichever comes first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from flowkernel.timeline.model import Bar, Code, Problem, Status
from flowkernel.timeline.preview import clip

__all__ = ["ago", "attempts_words", "duration_words", "how_it_ended", "why_it_waits"]

_NAMED = 3
"""So many pending activities are named one by one; more are counted."""
_QUOTE_LIMIT = 120
_PROMPT = 1_000.0
"""Milliseconds within which a worker that is there takes a task: a shorter wait is not worth a word."""


def duration_words(milliseconds: float) -> str:
    """A length of time for people: ``0.4 ms``, ``340 ms``, ``3.2 s``, ``2 min 5 s``, ``3 h 20 min``, ``2 d 4 h``."""
    ms = max(milliseconds, 0.0)
    if ms == 0:
        return "0 s"
    if ms < 9.95:
        return f"{ms:.1f} ms".replace(".0 ", " ")
    if ms < 999.5:
        return f"{ms:.0f} ms"
    if ms < 59_950:
        return f"{ms / 1e3:.1f} s".replace(".0 ", " ")
    seconds = round(ms / 1e3)
    if seconds < 3_600:
        return _two(seconds, 60, "min", "s")
    minutes = round(ms / 6e4)
    if minutes < 1_440:
        return _two(minutes, 60, "h", "min")
    return _two(round(ms / 3.6e6), 24, "d", "h")


def _two(count: int, per: int, large: str, small: str) -> str:
    whole, rest = divmod(count, per)
    return f"{whole:,} {large} {rest} {small}" if rest else f"{whole:,} {large}"


def ago(now: float, then: float) -> str:
    """``3.2 s ago``, or ``just now``."""
    return f"{duration_words(now - then)} ago" if now - then >= 1 else "just now"


def attempts_words(attempt: int, maximum: int) -> str:
    """``attempt 2 of 3``, or ``attempt 2`` without a limit."""
    return f"attempt {attempt} of {maximum}" if maximum > 0 else f"attempt {attempt}"


def why_it_waits(
    code: Code,
    bars: Sequence[Bar],
    now: float,
    *,
    workflow_type: str,
    task_queue: str,
    cancel_requested_at: float | None = None,
    cancel_reason: str = "",
    expires: float | None = None,
) -> str:
    """One sentence (two at most) for an open run.

    Args:
        code: where the workflow task stands.
        bars: the steps; closed ones are ignored.
        now: milliseconds after the start, as all times.
        expires: when a timeout ends the run.
    """
    activities = [bar for bar in bars if bar.kind == "activity" and bar.end is None]
    timers = [bar for bar in bars if bar.kind == "timer" and bar.end is None]
    pending = [*_activities(activities, now), *_timers(timers, now)]
    if code.state == "failing":
        sentence = _failing(code, now)
        if pending:
            sentence += f" Meanwhile pending: {'; '.join(pending)}."
    elif code.state != "idle" and (stuck := _stuck(code, now, workflow_type, task_queue)):
        sentence = f"{stuck} Pending as well: {'; '.join(pending)}." if pending else stuck
    elif pending:
        sentence = f"Waiting for {'; '.join(pending)}."
        if code.has_worker is False:
            sentence += " No worker has this workflow's code to go on with."
    elif code.state != "idle":
        sentence = "The workflow's code is running." if code.state == "running" else "The workflow's code is about to run."
    else:
        sentence = "Waiting for a signal: no activity and no timer is pending."
        if expires is not None:
            sentence = f"{sentence[:-1]}; the run times out in {duration_words(expires - now)}."
    if cancel_requested_at is not None:
        reason = f" ({clip(cancel_reason, _QUOTE_LIMIT)})" if cancel_reason else ""
        sentence = f"Cancellation was requested {ago(now, cancel_requested_at)}{reason}. {sentence}"
    return sentence


def how_it_ended(status: Status, problem: Problem | None, bars: Sequence[Bar], reason: str) -> str:
    """One sentence for a closed run."""
    steps = [bar for bar in bars if bar.kind == "activity"]
    retried = sum(bar.attempts > 1 for bar in steps)
    if status == "completed":
        count = f"{len(steps)} {'activity' if len(steps) == 1 else 'activities'}" if steps else "no activities"
        return f"Completed: {count}" + (f", {retried} of them retried." if retried else ".")
    why = problem.summary if problem else reason
    where = f" (at {problem.where})" if problem and problem.where else ""
    if status == "failed" and why.startswith(("activity ", "child workflow ")):  # that says "failed" by itself
        return f"{why[0].upper()}{why[1:]}{where}"
    return f"{status.capitalize()}: {why}{where}" if why else f"{status.capitalize()}."


def _failing(code: Code, now: float) -> str:
    problem = code.problem
    what = clip(problem.summary, 2 * _QUOTE_LIMIT).rstrip(".") if problem else "unknown error"
    where = f", at {problem.where}" if problem and problem.where else ""
    tried = f"tried {code.attempt} times, " if code.attempt > 1 else ""
    if code.retry_at is None:  # a streak's first failure is an event, and events do not say when the next try is due
        following = "will be tried again"
    elif code.retry_at <= now:
        following = "about to be tried again"
    else:
        following = f"next try in {duration_words(code.retry_at - now)}"
    return f"The workflow's code is failing: {what}{where} ({tried}{following}). Fix the code and run its cell again."


def _stuck(code: Code, now: float, workflow_type: str, task_queue: str) -> str:
    """Why the code does not run although it has something to do; empty if it soon will."""
    waited = now - code.since
    if code.state == "ready" and code.has_worker is False:
        return (
            f"No worker has this workflow's code: run the cell that defines {workflow_type or 'it'}, "
            f"or start a worker on task queue “{task_queue}”."
        )
    if waited < _PROMPT:
        return ""
    if code.state == "running":
        return f"The workflow's code has been running for {duration_words(waited)} without a pause."
    # That a worker took the task is written together with its answer: until then nobody can tell waiting from running.
    lasted = duration_words(waited)
    return f"The workflow's code has had something to do for {lasted}, but no worker of “{task_queue}” has answered."


def _activities(bars: Sequence[Bar], now: float) -> list[str]:
    if len(bars) <= _NAMED:
        return [f"activity {bar.label}, {_activity(bar, now)}" for bar in bars]
    phrases: list[str] = []
    words = {"running": "running", "handed over": "handed-over", "queued": "queued", "backing off": "backing-off"}
    for state, word in words.items():
        those = [bar for bar in bars if bar.state == state]
        if not those:
            continue
        types = Counter(bar.label for bar in those).most_common()
        names = ", ".join(f"{name} ×{count}" if count > 1 else name for name, count in types[:4])
        more = f" and {len(types) - 4} more types" if len(types) > 4 else ""
        phrase = f"{len(those)} {word} {'activity' if len(those) == 1 else 'activities'} ({names}{more})"
        if state == "backing off":
            soonest = min(those, key=lambda bar: bar.due or 0.0)
            phrase += f", the next attempt in {duration_words((soonest.due or now) - now)}{_because(soonest)}"
        phrases.append(phrase)
    return phrases


def _activity(bar: Bar, now: float) -> str:
    since = bar.segments[-1].start if bar.segments else bar.start
    lasted = duration_words(now - since)
    if bar.state == "backing off":
        wait = duration_words((bar.due or now) - now)
        return f"backing off {wait} before {attempts_words(bar.attempts + 1, bar.max_attempts)}{_because(bar)}"
    if bar.state == "queued":
        text = f"queued for {lasted} on task queue “{bar.task_queue}”"
    elif bar.state == "handed over":
        text = f"to be completed from outside, for {lasted}"
    else:
        text = f"running for {lasted}"
    attempt = bar.attempts + (bar.state == "queued")
    if attempt > 1:
        text += f", {attempts_words(attempt, bar.max_attempts)}{_because(bar) if bar.state == 'queued' else ''}"
    if bar.heartbeat_at is not None and bar.state != "queued":
        details = f" ({clip(bar.heartbeat, 60)})" if bar.heartbeat else ""
        text += f", last heartbeat {ago(now, bar.heartbeat_at)}{details}"
    return text + (", asked to cancel" if bar.cancel_requested else "")


def _because(bar: Bar) -> str:
    failed = next((segment.problem for segment in reversed(bar.segments) if segment.problem), bar.problem)
    return f" because of “{clip(failed.summary, _QUOTE_LIMIT)}”" if failed else ""


def _timers(bars: Sequence[Bar], now: float) -> list[str]:
    if not bars:
        return []
    following = min(bars, key=lambda bar: bar.due or 0.0)
    left = (following.due or now) - now
    when = f"in {duration_words(left)}" if left > 0 else "now"
    if len(bars) > 1:
        return [f"{len(bars)} timers, the next of which fires {when}"]
    name = f"timer “{following.summary}”," if following.summary else "a timer"
    return [f"{name} that fires {when}" if not following.summary else f"{name} which fires {when}"]
