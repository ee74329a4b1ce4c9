"""A logger for workflow code, and what code may ask about the machinery that runs it."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from flowkernel.replay.current import current, maybe_current, unrestricted

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter

_passed_through: ContextVar[bool] = ContextVar("flowkernel_imports_passed_through", default=False)


class LoggerAdapter(_Adapter):
    """Adds the running workflow to log records, and keeps silent in a replay.

    Attributes:
        workflow_info_on_message: append the workflow's data to the message. True by default.
        workflow_info_on_extra: put them on the record, as a dict under ``temporal_workflow``. True by default.
        full_workflow_info_on_extra: put the whole `Info` on the record, under ``workflow_info``. False by default.
        log_during_replay: log in replays too. False by default.
    """

    def __init__(self, logger: logging.Logger, extra: Mapping[str, Any] | None) -> None:
        super().__init__(logger, extra or {})
        self.workflow_info_on_message = True
        self.workflow_info_on_extra = True
        self.full_workflow_info_on_extra = False
        self.log_during_replay = False

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the workflow's data to one message."""
        extra: dict[str, Any] = {}
        runtime = maybe_current()
        if runtime is not None:
            if self.workflow_info_on_extra:
                extra["temporal_workflow"] = runtime.info.details()
            if self.full_workflow_info_on_extra:
                extra["workflow_info"] = runtime.info
            if self.workflow_info_on_message:
                msg = f"{msg} ({runtime.info.details()})"
        kwargs["extra"] = {**extra, **(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the standard library's name
        """Whether a message of this level is logged now."""
        if not self.log_during_replay:
            runtime = maybe_current()
            if runtime is not None and runtime.replaying_history_events:
                return False
        return super().isEnabledFor(level)

    @property
    def base_logger(self) -> logging.Logger:
        """The logger underneath, to add handlers to."""
        return self.logger


logger = LoggerAdapter(logging.getLogger("flowkernel.workflow"), None)
"""For workflow code: records carry the workflow's data, and replays are silent."""


class unsafe:  # noqa: N801 - the SDK's name
    """Questions that ordinary workflow code has no need to ask. Answers may differ between a run and its replay."""

    def __init__(self) -> None:
        raise TypeError("workflow.unsafe is a group of functions, not a class to make objects of")

    @staticmethod
    def is_replaying() -> bool:
        """Whether the code is answered from history. During a query it says what was so in the last activation."""
        return current().replaying

    @staticmethod
    def is_replaying_history_events() -> bool:
        """As `is_replaying`, but False in a query handler."""
        return current().replaying_history_events

    @staticmethod
    def is_read_only() -> bool:
        """Whether a query handler is running."""
        return current().loop.outbox.read_only

    @staticmethod
    def in_sandbox() -> bool:
        """False: flowkernel does not import modules anew for each run."""
        return False

    @staticmethod
    def is_sandbox_unrestricted() -> bool:
        """Whether this is inside of `sandbox_unrestricted`."""
        return unrestricted.get()

    @staticmethod
    @contextmanager
    def sandbox_unrestricted() -> Generator[None]:
        """Lets code inside the block do what workflow code may not: it vouches for being the same in every replay."""
        token = unrestricted.set(True)
        try:
            yield
        finally:
            unrestricted.reset(token)

    @staticmethod
    def is_imports_passed_through() -> bool:
        """Whether this is inside of `imports_passed_through`."""
        return _passed_through.get()

    @staticmethod
    @contextmanager
    def imports_passed_through() -> Generator[None]:
        """Kept for programs written for Temporal: imports are never repeated here, so all of them pass through."""
        token = _passed_through.set(True)
        try:
            yield
        finally:
            _passed_through.reset(token)
