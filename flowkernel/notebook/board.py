"""The runs that screens of this notebook show: which have changed, and when each may be drawn again.

Pure: times are arguments (seconds of a steady clock for pacing, an `Instant` for the picture), nothing is published here. One
lock guards it all: commits arrive on a thread of the service's, drawing happens on the publisher's, cells run on the main one.

Two streams tell of a run: the history as read when it is first shown, and the commits heard since. They overlap, so commits that
arrive before the history has been read are kept, and what both contain is taken once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flowkernel.api import Change
from flowkernel.model.events import Event, WorkflowTaskFailed
from flowkernel.model.ids import Instant, RunRef
from flowkernel.model.records import Record, WorkflowTaskAttemptFailed
from flowkernel.timeline import Timeline, TimelineFold

__all__ = ["Board", "Picture", "is_stuck"]

PACE = 0.1
"""Seconds between two pictures of one run: at most 10 a second."""

PATIENCE = 2
"""Failures of workflow code in a row before it counts as stuck: the first may come from a busy machine."""

_GROWING = frozenset({"running", "backing off"})
_LONGEST_STEP_PAUSE = 10.0
_LONGEST_TIMER_PAUSE = 60.0


def is_stuck(timeline: Timeline) -> bool:
    """Whether a run cannot go on because its code keeps failing."""
    return timeline.status == "suspended" and timeline.code.attempt >= PATIENCE


@dataclass(frozen=True)
class Picture:
    """A timeline that is to be published under some display ids."""

    timeline: Timeline
    display_ids: tuple[str, ...]


@dataclass
class _Shown:
    """One run."""

    folding: TimelineFold
    display_ids: list[str] = field(default_factory=list[str])
    early: list[Change] = field(default_factory=list[Change])
    read: bool = False
    last_event_id: int = 0
    timeline: Timeline | None = None
    dirty: bool = True
    urgent: bool = False
    published: float = float("-inf")
    cost: float = 0.0
    renewed: bool = False

    def take(self, events: Sequence[Event], records: Sequence[Record]) -> None:
        new = [event for event in events if event.event_id > self.last_event_id]
        if new:
            self.last_event_id = new[-1].event_id
        self.folding.add(new, records)
        self.dirty = True
        self.renewed = self.renewed and not (new or records)
        failed = any(isinstance(event.attributes, WorkflowTaskFailed) for event in new)
        self.urgent = self.urgent or failed or any(isinstance(record, WorkflowTaskAttemptFailed) for record in records)

    @property
    def closed(self) -> bool:
        return self.timeline is not None and not self.timeline.is_open

    def pause(self) -> float:
        """Seconds until bars have grown enough to draw again; infinite while nothing grows."""
        timeline = self.timeline
        if timeline is None or not timeline.is_open:
            return float("inf")
        states = {bar.state for bar in timeline.bars if bar.kind != "run"}
        # A run of an hour need not be drawn every second: a message each is kept in the browser's and the server's memory.
        steady = max(1.0, timeline.duration / 1000 / 300)
        if states & _GROWING:
            return min(steady, _LONGEST_STEP_PAUSE)
        return min(steady, _LONGEST_TIMER_PAUSE) if "ticking" in states else float("inf")

    def due(self) -> float:
        """When to draw next, on the steady clock."""
        if not self.display_ids or not self.read:
            return float("inf")
        if self.urgent:
            return float("-inf")
        # Drawing a long history takes its time; it gets a tenth of it at most.
        pace = max(PACE, 10 * self.cost)
        return self.published + (pace if self.dirty else max(pace, self.pause()))


class Board:
    """All runs shown in this kernel. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._runs: dict[RunRef, _Shown] = {}
        self._lock = threading.Lock()

    def expect(self, run: RunRef) -> bool:
        """Keep what is committed for a run from now on, until `begin` brings what came before. False if it is known already."""
        with self._lock:
            if run in self._runs:
                return False
            self._runs[run] = _Shown(TimelineFold(run))
            return True

    def begin(self, run: RunRef, events: Sequence[Event], records: Sequence[Record]) -> None:
        """Hand in the history of an expected run, as it was read after `expect`."""
        with self._lock:
            shown = self._runs[run]
            shown.take(events, records)
            shown.read = True
            known = list(records)
            for change in shown.early:
                shown.take(change.events, [record for record in change.records if record not in known])
            shown.early.clear()

    def forget(self, run: RunRef) -> None:
        """Drop a run whose history could not be read."""
        with self._lock:
            self._runs.pop(run, None)

    def display(self, run: RunRef, display_id: str, clock: Callable[[], float], now: Instant) -> Timeline:
        """Show a known run under a display id too. The first picture there is the caller's to draw."""
        with self._lock:
            shown = self._runs[run]
            timeline = self._view(shown, now)
            if not shown.display_ids:
                shown.dirty = shown.urgent = False
                shown.published = clock()
            shown.display_ids.append(display_id)
            return timeline

    def hear(self, changes: Sequence[Change]) -> bool:
        """Take in commits. Returns whether any run shown here has changed."""
        touched = False
        with self._lock:
            for change in changes:
                shown = self._runs.get(change.run)
                if shown is None:
                    continue
                touched = True
                if shown.read:
                    shown.take(change.events, change.records)
                else:
                    shown.early.append(change)
        return touched

    def runs(self) -> tuple[RunRef, ...]:
        """All runs, in the order in which they were first shown."""
        with self._lock:
            return tuple(self._runs)

    def view(self, run: RunRef, now: Instant) -> Timeline:
        """The timeline of a known run."""
        with self._lock:
            return self._view(self._runs[run], now)

    def settled(self, now: Instant) -> bool:
        """Whether no run can go on: each is closed or stuck."""
        with self._lock:
            return all(
                shown.closed or not self._view(shown, now).is_open or self._is_stuck(shown, now) for shown in self._runs.values()
            )

    def is_stuck(self, run: RunRef, now: Instant) -> bool:
        """Whether a known run cannot go on because its code, as it is now, keeps failing."""
        with self._lock:
            return self._is_stuck(self._runs[run], now)

    def _is_stuck(self, shown: _Shown, now: Instant) -> bool:
        return not shown.renewed and is_stuck(self._view(shown, now))

    def renew(self, workflow_type: str | None, now: Instant) -> None:
        """The code of these runs is being replaced: what failed before says nothing until something happens again."""
        with self._lock:
            for shown in self._runs.values():
                if not shown.read:
                    continue
                view = self._view(shown, now)
                shown.renewed = shown.renewed or (view.is_open and view.workflow_type == workflow_type)

    def _view(self, shown: _Shown, now: Instant) -> Timeline:
        if shown.timeline is None or shown.dirty or not shown.closed:
            shown.timeline = shown.folding.view(now)
        return shown.timeline

    def pictures(self, clock: Callable[[], float], now: Instant, *, everything: bool = False) -> tuple[Picture, ...]:
        """Draw the runs that are due; with ``everything``, all that have changed."""
        pictures: list[Picture] = []
        with self._lock:
            for shown in self._runs.values():
                began = clock()
                if not (shown.due() <= began or (everything and shown.dirty and shown.display_ids and shown.read)):
                    continue
                timeline = self._view(shown, now)
                shown.dirty = shown.urgent = False
                shown.published = began
                shown.cost = clock() - began
                pictures.append(Picture(timeline, tuple(shown.display_ids)))
                if shown.closed:
                    # The last picture stays; a closed run never changes, so its displays need no more.
                    shown.display_ids.clear()
        return tuple(pictures)

    def next_due(self) -> float:
        """When `pictures` has something to draw, on the steady clock; infinite if only a commit can bring it."""
        with self._lock:
            return min((shown.due() for shown in self._runs.values()), default=float("inf"))
