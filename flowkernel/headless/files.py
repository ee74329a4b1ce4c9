"""Notebooks on disk."""

from __future__ import annotations

import contextlib
import os
import warnings
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.reader import NotJSONError

__all__ = ["NotebookError", "default_output", "read_notebook", "save_notebook"]

_FORMAT = 4
_nbformat: Any = nbformat  # its functions carry no types


class NotebookError(Exception):
    """The file is no notebook that can be run. Nothing was run or written."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


def default_output(source: Path) -> Path:
    """Return where an executed notebook goes unless told otherwise."""
    return source.with_name(f"{source.stem}.out.ipynb")


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook, brought up to the present format and without outputs.

    Raises:
        OSError: it cannot be read.
        NotebookError: it is no notebook, or not one for Python.
    """
    text = path.read_text(encoding="utf-8")
    try:
        with warnings.catch_warnings():
            # A notebook of an older minor format has cells without ids; they get one here.
            warnings.simplefilter("ignore")
            notebook = _nbformat.reads(text, as_version=_FORMAT)
            notebook.nbformat_minor = max(notebook.nbformat_minor, 5)
            _, notebook = _nbformat.validator.normalize(notebook)
        _nbformat.validate(notebook)
    except (nbformat.ValidationError, NotJSONError, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NotebookError(path, f"is not a Jupyter notebook ({reason})") from error
    language = notebook.metadata.get("kernelspec", {}).get("language") or notebook.metadata.get("language_info", {}).get("name")
    if language and language.lower() not in {"python", "ipython"}:
        raise NotebookError(path, f"is a notebook for {language}; flowkernel runs Python notebooks")
    notebook.metadata.setdefault("language_info", {"name": "python"})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
            cell.execution_count = None
    return notebook


def save_notebook(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook so that the file is at any moment either the old one or the new one, whole.

    Raises:
        OSError: it cannot be written; the old file stays.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        unfinished.write_text(_nbformat.writes(notebook, version=_FORMAT) + "\n", encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
