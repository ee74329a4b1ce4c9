from __future__ import annotations

import pytest

from flowkernel.notebook.commands import COMMANDS
from flowkernel.notebook.completion import candidates


class Source:
    def workflow_ids(self) -> list[str]:
        return ["weather", "notebook/weather", "etl"]

    def handler_names(self, execution: str, kind: str) -> list[str]:
        return [f"{execution}-{kind}", "approve"]

    def cell_options(self) -> list[str]:
        return ["--id", "--input", "--wait"]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("%workflow ", ("", sorted(COMMANDS))),
        ("%workflow s", ("s", ["show", "signal"])),
        ("x = %workflow res", ("res", ["result"])),
        ("%workflow show ", ("", ["etl", "notebook/weather", "weather"])),
        ("%workflow show we", ("we", ["weather"])),
        ("%workflow show weather --r", ("--r", ["--run-id"])),
        ("%workflow list --", ("--", ["--help", "--id", "--limit", "--status", "--type"])),
        ("%workflow list ", ("", [])),
        ("%workflow signal weather ", ("", ["approve", "weather-signal"])),
        ("%workflow query weather a", ("a", ["approve"])),
        ("%workflow nonsense x", ("x", [])),
        ("%%workflow --i", ("--i", ["--id", "--input"])),
        ("%%workflow weather --", ("--", ["--id", "--input", "--wait"])),
        ("%%workflow wea", ("wea", [])),
        ("%%workflow weather\npri", None),
        ("workflow ", None),
        ("%timeit ", None),
    ],
)
def test_candidates(before: str, expected: object) -> None:
    assert candidates(Source(), before) == expected
