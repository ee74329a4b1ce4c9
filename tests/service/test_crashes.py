"""A crash at any commit, in any place, changes nothing about how a run ends."""

from __future__ import annotations

from collections import Counter

import pytest
from outline import by_name, outline
from programs import ONE_AT_A_TIME, SEVERAL_AT_ONCE, only_once, slow
from simulated_world import CRASHES, NAMESPACE, Place, Program, values
from simulation import ENDS, Simulation

from flowkernel.model import events as ev
from flowkernel.model.failures import RetryState

PROGRAMS = {**ONE_AT_A_TIME, **SEVERAL_AT_ONCE}


def check_ending(simulation: Simulation) -> None:
    """What holds for every run that has ended, whatever happened to it."""
    history = simulation.history
    names = {e.event_id: e.attributes.activity_id for e in history if isinstance(e.attributes, ev.ActivityTaskScheduled)}
    ended = Counter(e.attributes.scheduled_event_id for e in history if isinstance(e.attributes, ENDS))
    assert set(ended.values()) <= {1}, "an activity ends once"
    for event in history:
        if isinstance(event.attributes, ev.ActivityTaskCompleted):
            assert simulation.world.effects[names[event.attributes.scheduled_event_id]] >= 1
    signals = Counter(e.attributes.request_id for e in history if isinstance(e.attributes, ev.WorkflowExecutionSignaled))
    assert set(signals.values()) <= {1}, "a signal counts once"
    assert set(simulation.world.attempts.values()) <= {1}, "an attempt runs once"
    runs = len(simulation.store.list_runs(NAMESPACE))
    assert runs == 1 + simulation.forgotten_starts, "a start that is sent again starts no second run"


@pytest.mark.parametrize("name", PROGRAMS)
def test_without_a_crash_every_effect_happens_once(name):
    simulation = Simulation(PROGRAMS[name]).run()
    check_ending(simulation)
    assert set(simulation.world.effects.values()) <= {1}


@pytest.mark.parametrize("place", list(Place), ids=lambda place: place.name)
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_crash_changes_nothing(name, place):
    program = PROGRAMS[name]
    plain = Simulation(program).run()
    for commit in range(1, plain.commits + 1):
        simulation = Simulation(program, {commit: place}).run()
        check_ending(simulation)
        if name in ONE_AT_A_TIME:
            assert outline(simulation.history, tasks=True) == outline(plain.history, tasks=True), f"commit {commit}"
        assert by_name(simulation.history) == by_name(plain.history), f"commit {commit}"
        assert simulation.lives == (2 if place in CRASHES else 1)


@pytest.mark.parametrize("name", PROGRAMS)
def test_crashing_again_and_again(name):
    """Every third commit goes wrong, in turns; recovery's own commits too."""
    program = PROGRAMS[name]
    plain = Simulation(program).run()
    places = list(Place)
    crashes = {commit: places[commit // 3 % len(places)] for commit in range(3, 300, 3)}
    simulation = Simulation(program, crashes).run()
    check_ending(simulation)
    assert by_name(simulation.history) == by_name(plain.history)


@pytest.mark.parametrize("place", list(Place), ids=lambda place: place.name)
def test_what_may_run_only_once_never_runs_twice(place):
    program = Program(only_once, {"slow": slow})
    plain = Simulation(program).run()
    assert values(plain.history[-1].attributes.result) == ["slow"]
    lost = 0
    for commit in range(1, plain.commits + 1):
        simulation = Simulation(program, {commit: place}).run()
        assert sum(simulation.world.attempts.values()) <= 1
        ends = [event.attributes for event in simulation.history if isinstance(event.attributes, ENDS)]
        if isinstance(ends[0], ev.ActivityTaskTimedOut):
            lost += 1
            assert ends[0].retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED
            assert values(simulation.history[-1].attributes.result) == ["TimeoutError"]
        else:
            assert simulation.world.effects["1"] == 1
            assert outline(simulation.history, tasks=True) == outline(plain.history, tasks=True)
    assert lost == {Place.BEFORE_STORE: 1, Place.BEFORE_REPLIES: 1, Place.AFTER_REPLIES: 1, Place.REFUSED: 0}[place]


@pytest.mark.parametrize("place", CRASHES, ids=lambda place: place.name)
def test_a_heartbeat_carries_work_over(place):
    """A new attempt goes on after the last heartbeat that was stored: no step is done three times."""
    program = ONE_AT_A_TIME["heartbeating"]
    plain = Simulation(program).run()
    assert plain.world.notes == [1, 2, 3, 4, 5]
    for commit in range(1, plain.commits + 1):
        simulation = Simulation(program, {commit: place}).run()
        steps = Counter(simulation.world.notes)
        assert set(steps) == {1, 2, 3, 4, 5}
        assert sum(steps.values()) <= 6, "at most the step whose heartbeat was lost is done again"
