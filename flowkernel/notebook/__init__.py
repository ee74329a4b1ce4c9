"""The notebook: magics, live timelines, handles that can be awaited.

In a notebook, ``%load_ext flowkernel`` is all it takes. The functions here are for code beside the magics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowkernel.notebook.extension import active

if TYPE_CHECKING:
    from flowkernel.client import Client
    from flowkernel.notebook.handle import CellHandle

__all__ = ["client", "execution", "open_executions_json", "wait_until_settled"]


def client() -> Client:
    """The client on this notebook's database, which opens now if it is not open yet.

    Raises:
        CommandError: the extension is not loaded.
        StoreError: the database cannot be opened.
    """
    return active().session.client


def execution(name: str, run_id: str = "") -> CellHandle:
    """A handle of an execution, by workflow id or by the NAME of a cell of this notebook.

    Raises:
        CommandError: there is none; names the nearest.
    """
    extension = active()
    return extension.handle(extension.session.find(name, extension.notebook.stem, run_id).run)


def open_executions_json() -> str:
    """The executions that this kernel started or attached to: a JSON list of objects.

    Each has ``workflow_id``, ``run_id``, ``workflow_type``, ``status`` (a word: ``running``, ``suspended``, ``completed``, …) and
    ``waiting`` (a sentence; empty once it is closed). Without a database open the list is empty.
    """
    return active().listing()


def wait_until_settled(timeout: float | None) -> str:
    """Wait until each of those executions is closed or suspended, and draw their timelines.

    Args:
        timeout: seconds; None for as long as it takes. Interruptible.
    Returns:
        What `open_executions_json` gives then.
    """
    return active().settle(timeout)
