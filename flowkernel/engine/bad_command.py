"""The error of a command that breaks a rule."""

from __future__ import annotations

from flowkernel.model.failures import ApplicationFailure, Failure
from flowkernel.model.policies import WorkflowTaskFailedCause


class BadCommand(Exception):
    """A command of workflow code breaks a rule: the workflow task fails with this cause."""

    def __init__(self, cause: WorkflowTaskFailedCause, message: str) -> None:
        super().__init__(message)
        self.cause = cause
        self.failure = Failure(message, ApplicationFailure("BadCommand", non_retryable=True))
