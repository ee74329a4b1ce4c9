"""What is sent to a process of its own. Apart from `process_main`, which runs as a program and must not be imported before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flowkernel.converter import DataConverter
from flowkernel.model.payloads import Payloads
from flowkernel.worker.context import Info


@dataclass(frozen=True)
class Job:
    """One attempt, as it travels to a process.

    Attributes:
        log_level: that of the worker's root logger.
    """

    fn: Callable[..., Any]
    hints: Any
    dynamic: bool
    args: Payloads
    info: Info
    converter: DataConverter
    log_level: int
