"""The command line: what it answers to right and wrong words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import flowkernel
from flowkernel.cli import COMMANDS, main

HEAVY = ("IPython", "duckdb", "ipykernel", "nbclient", "nbformat", "pandas", "rich")


def test_help_teaches_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert f"  {command.name} " in text
        assert command.summary in text


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"flowkernel {command}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"flowkernel {flowkernel.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["rum"], "invalid choice: 'rum' (choose from 'run', 'list'"),
        (["run"], "the following arguments are required: notebook"),
        (["run", "missing.ipynb"], "missing.ipynb: No such file or directory"),
        (["run", "text.ipynb"], "text.ipynb: is not a Jupyter notebook"),
        (["run", "text.ipynb", "--frob"], "unrecognized arguments: --frob"),
        (["run", "text.ipynb", "--cell-timeout", "0"], "argument --cell-timeout: must be positive, not 0"),
        (["list", "x.duckdb", "--status", "done"], "invalid choice: 'done'"),
    ],
)
def test_wrong_words(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.ipynb").write_text("text")
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["text.ipynb"]


@pytest.mark.parametrize("command", [["list"], ["show"], ["history"]])
def test_a_database_that_is_not_there_is_not_made(command: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = [*command, str(tmp_path / "report.ipynb"), *(["weather"] if command != ["list"] else [])]
    assert main(arguments) == 1
    assert f"{tmp_path}/.flowkernel/report.duckdb: no such database" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "notes.duckdb"
    path.write_text("no database")
    assert main(["list", str(path)]) == 1
    assert "is not a readable flowkernel database" in capsys.readouterr().err
    assert path.read_text() == "no database"


def test_starting_imports_nothing_heavy() -> None:
    script = f"import sys, flowkernel.cli; print([name for name in {HEAVY} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_an_output_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    notebook = tmp_path / "a.ipynb"
    notebook.write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    (tmp_path / "taken").write_text("")
    assert main(["run", str(notebook), "-o", str(tmp_path / "taken" / "b.ipynb")]) == 1
    assert f"flowkernel run: {tmp_path}/taken: File exists" in capsys.readouterr().err
