"""The worker's pure machine: a run's history goes in, commands come out, by running the author's coroutine."""

from __future__ import annotations
