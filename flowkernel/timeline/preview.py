"""Text for screens, made from what authors and their code supplied.

Ids, inputs, errors and output are hostile until proven otherwise: terminal codes, characters that reorder or hide text, and
sheer length are taken out here, once, for every renderer. Escaping for HTML stays with the renderers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from flowkernel.model.failures import ActivityFailure, ApplicationFailure, ChildWorkflowFailure, Failure, TimeoutFailure
from flowkernel.model.payloads import Payload
from flowkernel.timeline.model import Problem

__all__ = ["arguments", "clean", "clip", "one_line", "preview", "problem"]

VALUE_LIMIT = 2_000
SUMMARY_LIMIT = 300
TRACE_LIMIT = 4_000
NAME_LIMIT = 200
_CAUSES = 8

_ANSI = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, cursor movement
    "|\x1b[\\]PX^_][^\x07\x1b]{0,1000}(?:\x07|\x1b\\\\)?"  # titles, links
    "|\x1b[ -/]*[0-~]"
)
# Controls; marks that reorder text; characters of no width except the joiners that scripts and emoji need; lone surrogates,
# which no output file could encode; tag characters.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)
_STACKED = re.compile(
    "([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{3})[\u0300-\u036f"
    "\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
)
_FRAME = re.compile(r'(?:File "(?P<file>[^"\n]*)", line |(?P<cell>Cell In\s?\[\d+\]), line )(?P<line>\d+)')
_LIBRARY = re.compile(r"site-packages|dist-packages|[/\\]lib[/\\]python|<frozen|[/\\]flowkernel[/\\]")
_CELL = re.compile(r"ipykernel_|^<|^Cell In")


def clip(text: str, limit: int) -> str:
    """At most ``limit`` characters, an ellipsis for what is left out."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)].rstrip() + "…"


def clean(text: str, limit: int = VALUE_LIMIT) -> str:
    """Text that shows what it says: no terminal codes, no control or reordering characters, at most ``limit`` characters."""
    if len(text) <= limit and text.isascii() and text.isprintable():
        return text
    text = text[: limit * 4]
    text = text.replace("\r\n", "\n").replace("\u2028", "\n").replace("\u2029", "\n").replace("\x85", "\n")
    text = _UNSEEN.sub("", _ANSI.sub("", text))
    text = _STACKED.sub(r"\1", text).expandtabs(4)
    return clip(text, limit)


def one_line(text: str, limit: int = SUMMARY_LIMIT) -> str:
    """`clean`, with every run of white space as one space."""
    if len(text) <= limit and text.isascii() and text.isprintable() and "  " not in text:
        return text.strip()
    return clip(" ".join(clean(text.replace("\r", "\n"), limit * 2).split()), limit)


def preview(payload: Payload, limit: int = VALUE_LIMIT) -> str:
    """A payload for people: its JSON text, or what it is and how long."""
    encoding = payload.metadata.get("encoding", b"").decode("utf-8", "replace")
    if encoding == "binary/null":
        return "null"
    if encoding.startswith("json/") or not encoding:
        return clean(payload.data[: limit * 4].decode("utf-8", "replace"), limit)
    return f"{one_line(encoding, 60)}, {len(payload.data):,} bytes"


def arguments(payloads: Sequence[Payload], limit: int = VALUE_LIMIT) -> tuple[str, ...]:
    """Previews of a call's arguments, at most 20 of them."""
    shown = tuple(preview(payload, limit) for payload in payloads[:20])
    return shown if len(payloads) <= 20 else (*shown, f"… {len(payloads) - 20} more")


def problem(failure: Failure | None) -> Problem | None:
    """A failure for people; None for none."""
    if failure is None:
        return None
    causes: list[str] = []
    trace, cause = failure.stack_trace, failure.cause
    for _ in range(_CAUSES):
        if cause is None:
            break
        causes.append(_own_summary(cause))
        trace = trace or cause.stack_trace
        cause = cause.cause
    # A wrapper says nothing by itself: what it wraps is the news.
    wrapped = failure
    while isinstance(wrapped.info, (ActivityFailure, ChildWorkflowFailure)) and wrapped.cause is not None:
        wrapped = wrapped.cause
    summary = _own_summary(failure) if wrapped is failure else f"{_own_summary(failure)}: {_own_summary(wrapped)}"
    return Problem(clip(summary, SUMMARY_LIMIT), tuple(causes), _clean_trace(trace), _where(trace))


def _own_summary(failure: Failure) -> str:
    info, message = failure.info, one_line(failure.message)
    if isinstance(info, ActivityFailure):
        return f"activity {one_line(info.activity_type, NAME_LIMIT)} failed"
    if isinstance(info, ChildWorkflowFailure):
        return f"child workflow {one_line(info.workflow_id, NAME_LIMIT)} failed"
    if isinstance(info, ApplicationFailure):
        kind = one_line(info.type, NAME_LIMIT)
        if not kind or message == kind or message.startswith(f"{kind}:"):
            return message or kind or "failed"
        return clip(f"{kind}: {message}", SUMMARY_LIMIT) if message else kind
    if isinstance(info, TimeoutFailure) and not message:
        return f"{info.timeout_type.name.lower().replace('_', '-')} timeout"
    return message or "failed"


def _clean_trace(trace: str) -> str:
    """The end of a long trace says more than its beginning."""
    if len(trace) > TRACE_LIMIT:
        trace = "…\n" + trace[-TRACE_LIMIT:].split("\n", 1)[-1]
    return clean(trace, TRACE_LIMIT + 10).strip("\n")


def _where(trace: str) -> str:
    """The innermost line of the author's own: a notebook cell's if there is one, else a file's outside the libraries."""
    best = ""
    for frame in _FRAME.finditer(trace[-16_000:]):
        name = frame["cell"] or frame["file"]
        if _CELL.search(name) and not name.startswith("<frozen"):
            best = f"cell line {frame['line']}"
        elif not _LIBRARY.search(name) and not best.startswith("cell"):
            best = one_line(f"{name.replace(chr(92), '/').rsplit('/', 1)[-1]} line {frame['line']}", NAME_LIMIT)
    return best
