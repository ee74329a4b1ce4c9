from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowkernel.testing import WorkflowEnvironment

sys.path.insert(0, str(Path(__file__).parent.parent / "worker"))

from laboratory import Lab


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """A service in memory whose time jumps while a result is awaited."""
    async with await WorkflowEnvironment.start_time_skipping() as env:
        yield Lab(env)
