from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

MakeNotebook = Callable[..., Path]


@pytest.fixture
def make_notebook(tmp_path: Path) -> MakeNotebook:
    """Write a notebook: a string is a code cell, (tag, string) a tagged one, "md: text" a markdown cell."""

    def make(*cells: str | tuple[str, str], **metadata: Any) -> Path:
        made = []
        for cell in cells:
            tags, source = ([], cell) if isinstance(cell, str) else ([cell[0]], cell[1])
            if source.startswith("md: "):
                made.append(new_markdown_cell(source.removeprefix("md: ")))
            else:
                made.append(new_code_cell(source, metadata={"tags": tags} if tags else {}))
        path = tmp_path / "example.ipynb"
        nbformat.write(new_notebook(cells=made, metadata=metadata), path)
        return path

    return make
