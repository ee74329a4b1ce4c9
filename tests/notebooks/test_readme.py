"""What the README shows runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from flowkernel.headless import run_notebook

PLAIN_SCRIPT = "<!-- test: plain script -->"
BLOCK = re.compile(r"(?P<mark><!-- test: [a-z ]+ -->\n)?```python\n(?P<code>.*?)```", re.DOTALL)


def blocks(root: Path, mark: str = "") -> list[str]:
    text = (root / "README.md").read_text()
    return [match["code"] for match in BLOCK.finditer(text) if (match["mark"] or "").strip() == mark]


@pytest.mark.kernel
def test_the_notebook_cells(root: Path, tmp_path: Path) -> None:
    (tmp_path / "numbers.txt").write_text("1\n2\n6\n")
    cells = blocks(root)
    assert len(cells) == 4
    path = tmp_path / "readme.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(cell.strip()) for cell in cells]), path)
    report = run_notebook(path)
    assert report.problem is None, f"{report.problem.headline}\n{report.problem.detail}"
    assert [one.status for one in report.executions] == ["completed"]
    outputs = [cell.outputs for cell in nbformat.read(report.output, as_version=4).cells]
    assert outputs[2][-1].data["text/plain"] == "3.0"
    assert "readme/weather" in outputs[3][-1].data["text/plain"]


def test_the_plain_script(root: Path, tmp_path: Path) -> None:
    (script,) = blocks(root, PLAIN_SCRIPT)
    (tmp_path / "greeting.py").write_text(script)
    for _ in range(2):
        ran = subprocess.run(
            [sys.executable, "-W", "error", "greeting.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert (ran.stdout, ran.stderr, ran.returncode) == ("Hello, World!\n", "", 0)


def test_the_commands_exist(root: Path) -> None:
    text = (root / "README.md").read_text()
    rules = re.findall(r"^([a-z]+):", (root / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z]+)", text)) <= set(rules)
    for target in re.findall(r"\]\(([^):]+)\)", text):
        assert (root / target).exists(), target
