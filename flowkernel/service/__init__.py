"""The service: owns the state of executions, keeps it in a store, hands out tasks."""

from __future__ import annotations

from flowkernel.service.clock import Clock, SkippingClock, SystemClock
from flowkernel.service.host import EmbeddedService

__all__ = ["Clock", "EmbeddedService", "SkippingClock", "SystemClock"]
