"""Durable workflows for notebooks and plain Python, recorded in a DuckDB file."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def load_ipython_extension(ipython: Any) -> None:
    """Called by ``%load_ext flowkernel``: adds ``%%workflow``, ``%workflow`` and the settings ``FlowKernel``."""
    # Imported here, so that a script that imports flowkernel does not import IPython.
    from flowkernel.notebook import extension  # noqa: PLC0415

    extension.load(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """Called by ``%unload_ext flowkernel``: stops everything and takes it out again. Open executions stay open in the file."""
    from flowkernel.notebook import extension  # noqa: PLC0415 (as above)

    extension.unload(ipython)
