"""Golden files for every kind of run; after a change that is meant, write them anew with FLOWKERNEL_WRITE_GOLDEN=1 and look."""

from __future__ import annotations

import base64
import os
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from timeline_histories import SAMPLES, History, application, fan_out

from flowkernel.model.ids import RunId, RunRef, WorkflowId
from flowkernel.timeline import MIME_TYPE, Timeline, mimebundle, render_html, render_svg, render_text
from flowkernel.timeline.blocks import fit, width_of, wrap
from flowkernel.timeline.layout import MAX_ROWS, rows, ticks

GOLDEN = Path(__file__).parent / "golden"
ALLOWED = {
    "div", "p", "b", "code", "samp", "bdi", "br", "small", "img", "table", "thead", "tbody", "tr", "th", "td",
    "details", "summary", "pre",
}  # fmt: skip


class Page(HTMLParser):
    """What a browser would make of a fragment."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.images: list[dict[str, str | None]] = []
        self.said = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in ("br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said += data


def check(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("FLOWKERNEL_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text + "\n"


@pytest.mark.parametrize("name", SAMPLES)
def test_golden(name: str) -> None:
    timeline = SAMPLES[name]().timeline()
    check(f"{name}.json", msgspec.json.format(msgspec.json.encode(timeline), indent=1).decode())
    check(f"{name}.80.txt", render_text(timeline, 80))
    check(f"{name}.120.txt", render_text(timeline, 120))
    check(f"{name}.html", render_html(timeline, pictures=False))
    check(f"{name}.svg", render_svg(timeline))


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("name", SAMPLES)
def test_text_keeps_to_its_width(name: str, width: int) -> None:
    for line in render_text(SAMPLES[name]().timeline(), width).splitlines():
        assert width_of(line) <= width, line


@pytest.mark.parametrize("name", SAMPLES)
def test_html_is_plain_and_says_everything_without_styles_and_images(name: str) -> None:
    timeline = SAMPLES[name]().timeline()
    page = Page(render_html(timeline))
    assert set(page.tags) <= ALLOWED
    assert not page.open
    assert page.attributes <= {"align", "style", "src", "alt", "colspan"}
    assert timeline.status in page.said
    assert (timeline.waiting or timeline.outcome) in page.said
    assert "color:" not in render_html(timeline).replace("background-color", "")
    for image in page.images:
        source, alt = image["src"], image["alt"]
        assert source is not None
        assert alt
        ET.fromstring(base64.b64decode(source.removeprefix("data:image/svg+xml;base64,")))


@pytest.mark.parametrize("name", SAMPLES)
def test_svg_is_well_formed_and_draws_inside_its_frame(name: str) -> None:
    root = ET.fromstring(render_svg(SAMPLES[name]().timeline()))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for shape in root.iter("{http://www.w3.org/2000/svg}rect"):
        x, y, w, h = (float(shape.attrib[key]) for key in ("x", "y", "width", "height"))
        assert x >= 0
        assert x + w <= width
        assert 0 <= y <= y + h <= height
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        assert 0 < float(text.attrib["y"]) < height


def test_many_bars_of_one_kind_become_one_row_and_failures_keep_their_names() -> None:
    found, left_out = rows(fan_out(60).timeline())
    assert [row.label for row in found] == ["list_images", "thumbnail ×60", "publish"]
    assert left_out == 0
    text = render_text(fan_out(60).timeline(), 120)
    assert "58 completed, 2 failed" in text
    assert "median" in text
    assert 'thumbnail("image-018.jpg"): UnidentifiedImageError: cannot identify image 29' in text
    found, _ = rows(fan_out(20).timeline())
    assert len(found) == 22


def test_a_picture_has_no_end_of_rows() -> None:
    history = History()
    history.task()
    for index in range(MAX_ROWS + 30):
        history.begin(history.schedule(f"step_{index}"))
    timeline = history.after(1).timeline()
    assert "30 more steps" in render_text(timeline)
    assert "30 more steps" in render_html(timeline)
    assert "30 more steps" in render_svg(timeline)


def test_the_bundle_has_a_form_for_everybody() -> None:
    timeline = SAMPLES["completed"]().timeline()
    bundle = mimebundle(timeline)
    assert sorted(bundle) == [MIME_TYPE, "text/html", "text/plain"]
    assert msgspec.convert(bundle[MIME_TYPE], Timeline) == timeline


@pytest.mark.parametrize("span", [0.001, 0.7, 13, 999, 7_000, 61_000, 5e6, 9e7, 4e9, 3e12])
def test_ticks_are_few_and_inside(span: float) -> None:
    marks = ticks(span, 8)
    assert 1 <= len(marks) <= 9
    assert all(0 <= at <= span for at, _ in marks)


def test_text_of_a_fixed_width_counts_columns() -> None:
    assert fit("ab", 4) == "ab  "
    assert fit("abcdef", 4) == "abc…"
    assert width_of(fit("日本語テキスト", 6)) == 6
    assert width_of("e\u0301") == 1
    assert wrap("next try in 7.5 s and so on", 15) == ["next try in", "7.5 s and so on"]
    assert all(width_of(line) <= 10 for line in wrap("日" * 40, 10))


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</pre></details></td></table></svg><iframe src=//evil>",
    "]]><!--<title>&amp;</title>",
    "\u202eevil\u202d\u2066\u200f\u061c",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07\x9b2J\x00\x08\x7f",
    "\ud800\ufffe" + "e" + "\u0301" * 500,
    "x" * 100_000,
    "日本語 🏳️‍🌈 " * 50,
    "a\nb\r\nc\u2028d\te",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text_in_every_form(text: str) -> None:
    run = RunRef("default", WorkflowId(text), RunId("r"))
    history = History(text, text, run=run)
    history.task()
    step = history.schedule(text, text, summary=text, queue=text)
    history.begin(step)
    history.prints(step, text + "\n")
    history.heartbeat(step, text)
    history.fails_once(step, 1, application(text, text, text), 1)
    history.signal(text, text)
    history.timer(1, text)
    for part in (history.after(0.5), history):
        if part is history:
            history.begin(step, 2)
            history.fail(step, application(text, text, text), 2)
            history.task_fails(application(text, text, text))
        timeline = part.timeline()
        html, svg, plain = render_html(timeline), render_svg(timeline), render_text(timeline, 80)
        page = Page(html)
        assert set(page.tags) <= ALLOWED
        assert not page.open
        assert page.attributes <= {"align", "style", "src", "alt", "colspan"}
        root = ET.fromstring(svg)
        assert {element.tag.split("}")[1] for element in root.iter()} <= {
            "svg", "title", "style", "defs", "pattern", "line", "rect", "path", "circle", "text",
        }  # fmt: skip
        for form in (html, svg, plain, msgspec.json.encode(timeline).decode()):
            form.encode()
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200f\u061c\u202a-\u202e\u2066-\u2069]", form)
            assert len(form) < 60_000
        assert all(width_of(line) <= 80 for line in plain.splitlines())
