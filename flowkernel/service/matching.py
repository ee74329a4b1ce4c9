"""Matching: tasks that wait for a worker, and workers that wait for tasks.

A poll is a credit for so many tasks. Tasks are matched at once, and everything that a poll collects during one turn of the
service is answered as one batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from flowkernel.api import Reply
from flowkernel.model.requests import PollActivityTasks, PollWorkflowTasks
from flowkernel.model.tasks import ReadyTask

TypeOf = Callable[[ReadyTask], str | None]
"""Finds a task's workflow or activity type; None when the task is no longer wanted."""


class Poll:
    """A worker's outstanding wish for tasks."""

    __slots__ = ("collected", "credits", "identity", "queue", "reply", "worker_id")

    def __init__(self, queue: TaskQueue, request: PollWorkflowTasks | PollActivityTasks, reply: Reply[Any]) -> None:
        self.queue = queue
        self.worker_id = request.worker_id
        self.identity = request.identity or request.worker_id
        self.credits = request.max_tasks
        self.reply = reply
        self.collected: list[Any] = []

    def put_back(self) -> None:
        """Nothing came of the tasks that it collected: it waits for others."""
        self.credits += len(self.collected)
        self.collected = []
        self.queue.put_back(self)


class TaskQueue:
    """One named line of tasks of one kind."""

    def __init__(self, type_of: TypeOf) -> None:
        self._type_of = type_of
        self._backlog: deque[ReadyTask] = deque()
        self._polls: deque[Poll] = deque()
        self._types: dict[str, frozenset[str] | None] = {}

    def offer(self, task: ReadyTask, preferred: str | None = None) -> Poll | None:
        """Find a poll for this task, that of the preferred worker if it has one; without any, the task waits.

        The caller adds what it makes of the task to the poll's ``collected``, or calls `refund`.
        """
        type_name = self._type_of(task) if self._polls else None
        chosen = self.find(type_name, preferred) if type_name is not None else None
        if chosen is None:
            self._backlog.append(task)
        else:
            chosen.credits -= 1
        return chosen

    def find(self, type_name: str, preferred: str | None = None) -> Poll | None:
        """A poll with credits whose worker runs this type, that of the preferred worker if it has one."""
        chosen = None
        for poll in self._polls:
            types = self._types.get(poll.worker_id)
            if poll.credits and (types is None or type_name in types):
                if preferred is None or poll.worker_id == preferred:
                    return poll
                chosen = chosen or poll
        return chosen

    def add(self, request: PollWorkflowTasks | PollActivityTasks, types: frozenset[str] | None, reply: Reply[Any]) -> Poll:
        """Take a worker's poll. Follow with `drain`."""
        self._types[request.worker_id] = types
        poll = Poll(self, request, reply)
        if poll.credits > 0:
            self._polls.append(poll)
        return poll

    def put_back(self, poll: Poll) -> None:
        """Take again a poll that `answered` gave out; if its worker has unregistered, end it. Follow with `drain`."""
        if poll.worker_id in self._types:
            self._polls.appendleft(poll)
        else:
            poll.reply((), None)

    def drain(self) -> Iterator[ReadyTask]:
        """Take out the waiting tasks, to be offered again; those that nobody can take yet go back by `offer`."""
        waiting, self._backlog = self._backlog, deque()
        yield from waiting

    @property
    def waits(self) -> bool:
        """Whether there are tasks waiting and polls with credits."""
        return bool(self._backlog) and any(poll.credits for poll in self._polls)

    @property
    def backed_up(self) -> bool:
        """Whether there are tasks waiting for workers that will take them in a moment, when they have room."""
        return any(type_name is not None and self.has_worker_for(type_name) for type_name in map(self._type_of, self._backlog))

    def answered(self) -> list[Poll]:
        """Take out the polls that have collected something."""
        if not any(poll.collected for poll in self._polls):
            return []
        done = [poll for poll in self._polls if poll.collected]
        self._polls = deque(poll for poll in self._polls if not poll.collected)
        return done

    def remove(self, worker_id: str) -> list[Poll]:
        """Forget a worker; returns its polls."""
        gone = [poll for poll in self._polls if poll.worker_id == worker_id]
        self._polls = deque(poll for poll in self._polls if poll.worker_id != worker_id)
        self._types.pop(worker_id, None)
        return gone

    def clear(self) -> list[Poll]:
        """Take out all polls."""
        polls, self._polls = list(self._polls), deque()
        return polls

    def has_worker_for(self, type_name: str) -> bool:
        """Whether a registered worker runs this type."""
        return any(types is None or type_name in types for types in self._types.values())

    @property
    def workers(self) -> frozenset[str]:
        """Ids of the registered workers."""
        return frozenset(self._types)


QueueKey = tuple[str, str]
"""Namespace and task queue name."""


class Matching:
    """The queues of one kind of task."""

    def __init__(self, type_of: TypeOf) -> None:
        self._type_of = type_of
        self._queues: dict[QueueKey, TaskQueue] = {}

    def queue(self, namespace: str, name: str) -> TaskQueue:
        """The queue of this name, made on first use."""
        key = (namespace, name)
        found = self._queues.get(key)
        if found is None:
            found = self._queues[key] = TaskQueue(self._type_of)
        return found

    @property
    def backed_up(self) -> bool:
        """Whether tasks wait in some queue whose workers will take them when they have room."""
        return any(queue.backed_up for queue in self._queues.values())

    def answered(self) -> list[Poll]:
        """Take out all polls that have collected something."""
        return [poll for queue in self._queues.values() for poll in queue.answered()]

    def remove(self, worker_id: str) -> list[Poll]:
        """Forget a worker in every queue; returns its polls."""
        return [poll for queue in self._queues.values() for poll in queue.remove(worker_id)]

    def clear(self) -> list[Poll]:
        """Take out all polls."""
        return [poll for queue in self._queues.values() for poll in queue.clear()]

    def __iter__(self) -> Iterator[TaskQueue]:
        return iter(list(self._queues.values()))
