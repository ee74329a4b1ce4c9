"""The quickstart in a real JupyterLab: what a person sees.

The pictures in ``artifacts/browser`` are for people to look at; the tests look at the page's text.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Locator, Page, expect

from flowkernel.headless import run_notebook

if TYPE_CHECKING:
    from tests.browser.conftest import Lab, OpenNotebook

pytestmark = [pytest.mark.browser, pytest.mark.kernel, pytest.mark.xdist_group("browser"), pytest.mark.timeout(300)]

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "quickstart.ipynb"
ORDER = [cell["id"] for cell in json.loads(NOTEBOOK.read_text())["cells"]]

RECORD = """
(cell) => {
    const said = [];
    const look = () => {
        const output = cell.querySelector('.jp-RenderedHTML');
        const word = output && /^\\s*(\\S+ \\S+)/.exec(output.textContent)?.[1];
        if (word && word !== said.at(-1)) said.push(word);
    };
    new MutationObserver(look).observe(cell, {childList: true, subtree: true, characterData: true});
    cell.flowkernelSaid = said;
}
"""

TABLES = ("weather", "countdown", "list", "history")
LOADED = "all => Promise.all(all.map(one => one.decode())).then(() => all.every(one => one.naturalWidth > 0))"


def cell(page: Page, name: str) -> Locator:
    """The cell that the notebook calls so."""
    return page.locator(".jp-Notebook .jp-Cell").nth(ORDER.index(name))


def output(page: Page, name: str) -> Locator:
    return cell(page, name).locator(".jp-Cell-outputArea")


def record(page: Page, name: str) -> None:
    """From now on, note each status that the cell's timeline shows: a person may blink, the page does not."""
    cell(page, name).evaluate(RECORD)


def recorded(page: Page, name: str) -> list[str]:
    return cell(page, name).evaluate("cell => cell.flowkernelSaid")


def choose(page: Page, *path: str) -> None:
    """Choose from the menu bar."""
    menu, entry = path
    page.locator("#jp-MainMenu").get_by_text(menu, exact=True).click()
    page.locator(".lm-Menu").get_by_text(entry, exact=True).click()


def show(page: Page, name: str, picture: Path) -> None:
    """Take a picture with the cell at the top of the window."""
    cell(page, name).evaluate("cell => cell.scrollIntoView({block: 'start'})")
    page.screenshot(path=picture)


def overflow(page: Page, name: str) -> int:
    """By how many pixels the output is wider than the page: what cannot be seen without scrolling sideways."""
    cell(page, name).scroll_into_view_if_needed()
    shown = output(page, name).locator(".jp-RenderedHTMLCommon").last
    return shown.evaluate("shown => shown.scrollWidth - shown.clientWidth")


def no_error(page: Page) -> None:
    kinds = page.locator(".jp-OutputArea-output").evaluate_all("all => all.map(one => one.dataset.mimeType)")
    assert "application/vnd.jupyter.stdout" in kinds  # what was printed is found, so errors would be
    assert {"application/vnd.jupyter.stderr", "application/vnd.jupyter.error"}.isdisjoint(kinds)


@pytest.fixture
def notebook(lab: Lab, tmp_path: Path) -> Path:
    """A copy of the quickstart in a folder of its own, which the server shows."""
    folder = lab.folder / tmp_path.name
    folder.mkdir()
    return Path(shutil.copy(NOTEBOOK, folder))


@pytest.fixture
def executed(notebook: Path) -> Path:
    """What a headless run left."""
    report = run_notebook(notebook)
    assert report.exit_code == 0
    return report.output


def test_run_all_shows_live_timelines(notebook: Path, open_notebook: OpenNotebook, pictures: Path) -> None:
    page = open_notebook(notebook)
    for name in ("weather", "countdown"):
        record(page, name)
    choose(page, "Run", "Run All Cells")
    expect(output(page, "weather")).to_contain_text("backing off")
    show(page, "weather", pictures / "running-light.png")
    expect(output(page, "weather")).to_contain_text("completed · quickstart/weather")
    show(page, "weather", pictures / "completed-light.png")
    expect(output(page, "history")).to_contain_text("WorkflowExecutionCompleted")

    assert recorded(page, "weather") == ["● running", "✓ completed"]
    assert recorded(page, "countdown") == ["● running", "✓ completed"]
    expect(output(page, "weather")).to_contain_text("Completed: 6 activities, 1 of them retried.")
    expect(output(page, "weather")).to_contain_text("ConnectionError: San Francisco does not answer")
    expect(output(page, "signal")).to_contain_text("signal 'approve' recorded for quickstart/weather")
    expect(output(page, "result")).to_contain_text("'approved': True")
    expect(output(page, "lift-off")).to_contain_text("lift-off")
    expect(output(page, "list")).to_contain_text("2 executions")
    chart = output(page, "chart").locator("img")
    chart.scroll_into_view_if_needed()
    assert chart.evaluate("image => image.decode().then(() => image.naturalWidth)") == 960
    assert {name: overflow(page, name) for name in TABLES} == dict.fromkeys(TABLES, 0)
    strips = output(page, "weather").locator("table img")
    assert strips.count() == 9
    assert strips.evaluate_all(
        "all => Promise.all(all.map(one => one.decode())).then(() => all.every(one => one.naturalWidth > 0))"
    )
    no_error(page)
    for name in ("chart", "countdown", "list", "history"):
        show(page, name, pictures / f"{name}-light.png")


def test_a_restarted_kernel_carries_on(notebook: Path, open_notebook: OpenNotebook, pictures: Path) -> None:
    page = open_notebook(notebook, dark=True)
    cell(page, "signal").locator(".cm-content").click()
    choose(page, "Run", "Run All Above Selected Cell")
    weather = output(page, "weather")
    expect(weather).to_contain_text("Waiting for a signal")
    show(page, "weather", pictures / "waiting-dark.png")
    (before,) = re.findall(r"started \S+ \S+", weather.inner_text())

    choose(page, "Kernel", "Restart Kernel and Run All Cells…")
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    expect(output(page, "history")).to_contain_text("WorkflowExecutionCompleted")
    expect(weather).to_contain_text("1 execution carries on: quickstart/weather.")
    expect(weather).to_contain_text("completed · quickstart/weather")
    assert before in weather.text_content()
    # `fetch` ran three times and once: not a second time for the second kernel.
    expect(weather).to_contain_text("Completed: 6 activities, 1 of them retried.")
    expect(output(page, "result")).to_contain_text("'approved': True")
    no_error(page)
    show(page, "weather", pictures / "completed-dark.png")
    weather.locator("details").last.locator("summary").click()
    weather.locator("details").last.evaluate("all => all.scrollIntoView({block: 'start'})")
    page.screenshot(path=pictures / "steps-dark.png")
    for name in ("chart", "history"):
        show(page, name, pictures / f"{name}-dark.png")


# `executed` comes first: the browser's thread has an event loop that runs, and the notebook's run wants its own.
def test_an_executed_notebook_from_elsewhere(executed: Path, open_notebook: OpenNotebook, pictures: Path) -> None:
    """Its output is not trusted, so JupyterLab takes away whatever might do something."""
    page = open_notebook(executed)
    weather = output(page, "weather")
    weather.scroll_into_view_if_needed()
    expect(weather).to_contain_text("completed · quickstart/weather")
    expect(weather.locator("table tr")).to_have_count(10)
    show(page, "weather", pictures / "untrusted-light.png")
    strips = weather.locator("table img")
    assert strips.evaluate_all(LOADED)
