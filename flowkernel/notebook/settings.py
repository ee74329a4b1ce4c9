"""Settings of the extension, and where a notebook's history lives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from traitlets import Enum, Unicode
from traitlets.config import Configurable

__all__ = ["DATABASE_VARIABLE", "FlowKernel", "NotebookName", "database_path", "notebook_name"]

DATABASE_VARIABLE = "FLOWKERNEL_DATABASE"
_NAME_VARIABLES = ("__vsc_ipynb_file__", "__session__")
_UNNAMED = "notebook"


class FlowKernel(Configurable):
    """Settings, changed with ``%config FlowKernel.database = "…"`` or ``c.FlowKernel.database`` in a configuration file.

    A setting counts from the next use; those of the database when it is first opened.
    """

    database = Unicode(
        "", help="DuckDB file of the history, or :memory:. Default: .flowkernel/<notebook>.duckdb beside the notebook."
    ).tag(config=True)
    namespace = Unicode("default", help="Namespace of the executions.").tag(config=True)
    task_queue = Unicode("notebook", help="Task queue of executions that name none.").tag(config=True)
    echo = Enum(["none", "cell"], "none", help="Where else what activities print goes, beside the timeline.").tag(config=True)


@dataclass(frozen=True)
class NotebookName:
    """What is known of the notebook.

    Attributes:
        path: its file; None if the front end did not tell.
        stem: its name without the ending, ``notebook`` if unknown.
    """

    path: Path | None
    stem: str


def notebook_name(names: Mapping[str, Any], environment: Mapping[str, str]) -> NotebookName:
    """Find the notebook's file, as Jupyter or VS Code tell the kernel.

    Args:
        names: the notebook's variables.
        environment: the process's environment.
    """
    candidates = [names.get(variable) for variable in _NAME_VARIABLES]
    for told in (*candidates, environment.get("JPY_SESSION_NAME")):
        if isinstance(told, str) and told.endswith(".ipynb"):
            path = Path(told)
            return NotebookName(path, path.stem)
    return NotebookName(None, _UNNAMED)


def database_path(configured: str, notebook: NotebookName, environment: Mapping[str, str]) -> str:
    """Choose the history's file: the setting, else ``FLOWKERNEL_DATABASE``, else a file beside the notebook."""
    chosen = configured or environment.get(DATABASE_VARIABLE, "")
    if chosen:
        return chosen if chosen == ":memory:" else str(Path(chosen).expanduser())
    folder = notebook.path.parent if notebook.path is not None else Path()
    # A server names the notebook by its own root, which need not be a path of this machine's.
    if not folder.is_dir():
        folder = Path()
    return str(folder / ".flowkernel" / f"{notebook.stem}.duckdb")


def prepare_folder(database: str) -> None:
    """Make the default folder of histories, which git ignores. Other folders are the author's own business.

    Raises:
        OSError: it cannot be made.
    """
    folder = Path(database).parent
    if folder.name != ".flowkernel" or folder.exists():
        return
    folder.mkdir(parents=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
