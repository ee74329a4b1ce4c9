"""Reading and writing notebooks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from flowkernel.headless import NotebookError
from flowkernel.headless.cells import cell_title, describe_error
from flowkernel.headless.files import default_output, read_notebook, save_notebook


def test_default_output() -> None:
    assert default_output(Path("folder/report.ipynb")) == Path("folder/report.out.ipynb")


@pytest.mark.parametrize(
    "text", ["# no notebook", "[1, 2]", "{}", '{"cells": 3, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}']
)
def test_no_notebook(tmp_path: Path, text: str) -> None:
    path = tmp_path / "example.ipynb"
    path.write_text(text)
    with pytest.raises(NotebookError, match=r"example\.ipynb: is not a Jupyter notebook"):
        read_notebook(path)


def test_other_languages_are_refused(make_notebook: Any) -> None:
    path = make_notebook("1", kernelspec={"name": "ir", "display_name": "R", "language": "R"})
    with pytest.raises(NotebookError, match="is a notebook for R; flowkernel runs Python notebooks"):
        read_notebook(path)


def test_cells_of_old_notebooks_get_ids(tmp_path: Path) -> None:
    path = tmp_path / "old.ipynb"
    cell = {"cell_type": "code", "execution_count": 7, "metadata": {}, "outputs": [], "source": ["1"]}
    path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 2}))
    notebook = read_notebook(path)
    assert notebook.cells[0].id
    assert notebook.cells[0].execution_count is None


def test_a_failed_save_leaves_the_old_file(make_notebook: Any, tmp_path: Path) -> None:
    notebook = read_notebook(make_notebook("1"))
    target = tmp_path / "out.ipynb"
    save_notebook(notebook, target)
    before = target.read_bytes()
    notebook.cells[0].outputs = [{"output_type": "stream", "name": "stdout", "text": object()}]
    with pytest.raises((TypeError, AttributeError, nbformat.ValidationError)):
        save_notebook(notebook, target)
    assert target.read_bytes() == before
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize(
    ("cells", "title"),
    [
        (["x = 1\ny = 2"], "x = 1"),
        (["\n\n# Count them\nx"], "Count them"),
        (["md: # Big\n## Small\nText", "x"], "Small"),
        (["md: # Big", "%%workflow weather --start-to-close 30s\nawait x()"], "%%workflow weather"),
        (["%%workflow --wait\nx"], "%%workflow"),
        (["md: only text", "x"], "x"),
        (["y" * 100], "y" * 59 + "…"),
    ],
)
def test_titles(make_notebook: Any, cells: list[str], title: str) -> None:
    notebook = read_notebook(make_notebook(*cells))
    assert cell_title(notebook.cells, len(cells) - 1) == title


def test_a_long_cell_is_shown_around_the_line(make_notebook: Any) -> None:
    cell = read_notebook(make_notebook("\n".join(f"x{number} = {number}" for number in range(1, 31)))).cells[0]
    cell.execution_count = 4
    text = describe_error(cell, "ValueError", "no", ["head", "Cell In[4], line 15\n code", "ValueError: no"])
    assert text.splitlines()[0] == "     11  x11 = 11"
    assert "->   15  x15 = 15" in text
    assert "x20" not in text


def test_an_error_without_a_place_shows_the_cells_beginning(make_notebook: Any) -> None:
    cell = read_notebook(make_notebook("\n".join(["pass"] * 12))).cells[0]
    text = describe_error(cell, "ValueError", "no", [])
    assert "         … 4 more lines" in text
    assert text.endswith("\n\nValueError: no")
    assert "->" not in text
