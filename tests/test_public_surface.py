"""The names that authors may import, written down: a change here is a change for everybody.

After one that is meant: ``python tests/test_public_surface.py > tests/public_surface.txt``.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

MODULES = ("activity", "client", "common", "converter", "exceptions", "testing", "worker", "workflow")


def surface() -> list[str]:
    return [f"flowkernel.{name}.{public}" for name in MODULES for public in importlib.import_module(f"flowkernel.{name}").__all__]


def test_the_surface_is_the_one_written_down() -> None:
    recorded = Path(__file__).with_name("public_surface.txt").read_text().splitlines()
    assert surface() == recorded


@pytest.mark.parametrize("name", MODULES)
def test_names_are_sorted_exist_and_are_described(name: str) -> None:
    module = importlib.import_module(f"flowkernel.{name}")
    # As ruff sorts them: constants, then classes, then functions.
    assert list(module.__all__) == sorted(module.__all__, key=lambda name: (not name.isupper(), name))
    assert module.__doc__
    undescribed = [
        public
        for public in module.__all__
        if (inspect.isclass(found := getattr(module, public)) or inspect.isfunction(found)) and not inspect.getdoc(found)
    ]
    assert undescribed == []


if __name__ == "__main__":
    print("\n".join(surface()))
