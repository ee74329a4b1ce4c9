"""Random programs, random crashes, random order of steps: how a run ends does not depend on them, and its history replays."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st
from outline import by_name
from simulated_world import CONVERTER, Attempt, Place, Program, Send, signal
from simulation import Simulation
from test_crashes import check_ending

from flowkernel import workflow
from flowkernel.common import RetryPolicy
from flowkernel.exceptions import ActivityError, ApplicationError
from flowkernel.model import events as ev
from flowkernel.model.commands import Command
from flowkernel.model.events import Event
from flowkernel.replay import WorkflowInstance

# A program is a tree of tuples. Activities are named by their place in it, so that the order in which the code asks for them
# does not matter.
leaves = st.one_of(
    st.tuples(st.just("activity"), st.sampled_from([0, 1, 7]), st.sampled_from(["", "", "flaky", "fatal"])),
    st.tuples(st.just("sleep"), st.sampled_from([0, 1, 5])),
    st.just(("signal",)),
    st.just(("fail",)),
)
parts = st.recursive(
    leaves,
    lambda inner: st.tuples(st.sampled_from(["sequence", "gather", "try", "race"]), st.lists(inner, min_size=1, max_size=3)),
    max_leaves=6,
)
trees = st.tuples(st.sampled_from(["sequence", "gather"]), st.lists(parts, min_size=2, max_size=4))
crash_plans = st.dictionaries(st.integers(1, 15), st.sampled_from(list(Place)), min_size=1, max_size=5)
seeds = st.none() | st.integers(0, 1_000)


def work(context: Attempt, seconds: float, trouble: str) -> Any:
    if seconds:
        yield float(seconds)
    if trouble == "fatal" or (trouble == "flaky" and context.attempt < 3):
        raise ApplicationError(trouble, type=trouble, non_retryable=trouble == "fatal")
    return context.activity_id


class Interpreter:
    def __init__(self) -> None:
        self.signals = 0

    async def run(self, tree: Any, path: str = "r") -> Any:
        match tree:
            case ["activity", seconds, trouble]:
                return await workflow.execute_activity(
                    "work", args=[seconds, trouble], start_to_close_timeout=1000, activity_id=path, retry_policy=RetryPolicy()
                )
            case ["sleep", seconds]:
                return await workflow.sleep(seconds)
            case ["signal"]:
                return await workflow.wait_condition(lambda: self.signals >= 1)
            case ["fail"]:
                raise ApplicationError("planned", type="Planned")
            case [kind, parts]:
                return await self.combine(kind, [(part, f"{path}{index}") for index, part in enumerate(parts)])

    async def combine(self, kind: str, parts: list[tuple[Any, str]]) -> Any:
        if kind == "sequence":
            return [await self.run(*part) for part in parts]
        if kind == "gather":
            found = await asyncio.gather(*(self.run(*part) for part in parts), return_exceptions=True)
            for result in found:
                if isinstance(result, BaseException):
                    raise result  # the first in the order of the program, not of time
            return found
        if kind == "try":
            try:
                return await self.run(*parts[0])
            except (ActivityError, ApplicationError) as error:
                return f"caught {type(error).__name__}"
        tasks = [asyncio.create_task(self.run(*part)) for part in parts]
        _, rest = await workflow.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return "somebody won"


async def interpret(tree: Any) -> Any:
    interpreter = Interpreter()

    def hear() -> None:
        interpreter.signals += 1

    workflow.set_signal_handler("go", hear)
    return await interpreter.run(tree)


def contains(tree: Any, kind: str) -> bool:
    return tree[0] == kind or (isinstance(tree[-1], list) and any(contains(part, kind) for part in tree[-1]))


def program_of(tree: Any) -> Program:
    return Program(interpret, {"work": work}, (Send(signal("go", request_id="1")),), args=(tree,))


def check_replays(simulation: Simulation, history: tuple[Event, ...]) -> None:
    """A fresh instance fed with any part of the history asks for what was recorded, and fits the rest."""

    def fresh() -> WorkflowInstance:
        return WorkflowInstance(simulation.definition, simulation.store.find_run("default", "order").run, CONVERTER)  # type: ignore[union-attr]

    whole = fresh()
    assert whole.activate(history) == ()
    assert whole.closed
    whole.evict()
    for index, event_ in enumerate(history[:-1]):
        answered = isinstance(history[index + 1].attributes, ev.WorkflowTaskCompleted)
        if isinstance(event_.attributes, ev.WorkflowTaskStarted) and answered:
            part = fresh()
            commands: tuple[Command, ...] = part.activate(history[: index + 1])
            following = [type(later.attributes).__name__ for later in history[index + 2 : index + 2 + len(commands)]]
            assert len(following) == len(commands)
            # Feeding the rest compares each of these commands with its event, and fails if they differ.
            part.activate(history[index + 1 :])
            part.evict()


@given(tree=trees, crashes=crash_plans, seed=seeds)
def test_crashes_change_nothing(tree, crashes, seed):
    program = program_of(tree)
    plain = Simulation(program).run()
    check_ending(plain)
    simulation = Simulation(program, crashes, seed).run()
    check_ending(simulation)
    event(f"{simulation.lives} lives")
    assert simulation.history[-1].stored_name == plain.history[-1].stored_name
    assert getattr(simulation.history[-1].attributes, "result", None) == getattr(plain.history[-1].attributes, "result", None)
    if not contains(tree, "race") and not contains(tree, "fail"):
        assert steps(simulation) == steps(plain)
    check_replays(simulation, simulation.history)


def steps(simulation: Simulation) -> dict[Any, Any]:
    """What happened to each activity, and which timers there were.

    Timers are numbered in the order in which the code asked for them, so their numbers do not count. Nor do signals: one that
    comes when the run has closed already is refused.
    """
    found = by_name(simulation.history)
    timers = [key for key in found if key[0] == "Timer"]
    others = {key: lines for key, lines in found.items() if key not in timers and key != "WorkflowExecutionSignaled"}
    others["timers"] = sorted(found[key][0][2] for key in timers)
    return others


@given(tree=trees, seed=st.integers(0, 1_000))
def test_the_order_of_steps_changes_nothing(tree, seed):
    program = program_of(tree)
    simulation = Simulation(program, seed=seed).run()
    check_ending(simulation)
    assert set(simulation.world.effects.values()) <= {1}
    check_replays(simulation, simulation.history)
