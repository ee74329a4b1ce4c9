"""A real JupyterLab, and a real browser that looks at it."""

from __future__ import annotations

import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_STARTUP = 60.0
"""Seconds until the server must have said where it listens."""
_PATIENCE = 45_000
"""Milliseconds until the page must show what a test waits for."""


@dataclass(frozen=True)
class Lab:
    """A running server, and the folder that it shows."""

    url: str
    folder: Path


@pytest.fixture
def browser() -> Iterator[Browser]:
    executable = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if executable is None:
        pytest.skip(
            f"NO BROWSER: JupyterLab was not looked at. Install one of {', '.join(_BROWSERS)}, for example: apt install chromium"
        )
    # Not for the whole session: while it lives, this thread has a running event loop, and other tests could not run theirs.
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=executable, args=_ARGUMENTS)
        yield made
        made.close()


@pytest.fixture(scope="session")
def pictures(pytestconfig: pytest.Config) -> Path:
    """Where screenshots go, to be looked at."""
    folder = pytestconfig.rootpath / "artifacts" / "browser"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _settings(folder: Path) -> Path:
    """A person's settings: the theme follows the browser's, and nothing is fetched from elsewhere."""
    values = {
        "themes": {"adaptive-theme": True},
        "notification": {"fetchNews": "false", "checkForUpdates": False},
    }
    settings = folder / "user-settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    for name, value in values.items():
        (settings / f"{name}.jupyterlab-settings").write_text(json.dumps(value))
    return folder / "user-settings"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class _Server:
    """A server process. A thread reads its log to the end, so that the pipe never fills."""

    process: subprocess.Popen[str]
    log: list[str] = field(default_factory=list)
    up: queue.SimpleQueue[bool] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        self.reader = threading.Thread(target=self._read, name="jupyter-log")
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.log.append(line)
                if "is running at" in line:
                    self.up.put(True)
        self.up.put(False)

    def wait_until_up(self) -> None:
        try:
            up = self.up.get(timeout=_STARTUP)
        except queue.Empty:
            up = False
        assert up, f"the server did not start:\n{''.join(self.log)}"

    def stop(self) -> None:
        self.process.terminate()  # it ends its kernels too
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab, with nothing of the developer's own."""
    home = tmp_path_factory.mktemp("lab")
    folder = home / "work"
    folder.mkdir()
    port = _free_port()
    environment = {
        **os.environ,
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    environment.pop("FLOWKERNEL_DATABASE", None)
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"),
        *("--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.password="),
        *(f"--ServerApp.root_dir={folder}", f"--LabApp.user_settings_dir={_settings(home)}"),
        *(f"--LabApp.workspaces_dir={home / 'workspaces'}", "--LabApp.extension_manager=readonly"),
    ]
    # A session of its own, so that an interrupt of the tests does not end it before the test is told.
    server = _Server(
        subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.PIPE, text=True, start_new_session=True)
    )
    try:
        server.wait_until_up()
        yield Lab(f"http://127.0.0.1:{port}", folder)
    finally:
        server.stop()


class OpenNotebook(Protocol):
    def __call__(self, notebook: Path, *, dark: bool = False) -> Page: ...


@pytest.fixture
def open_notebook(lab: Lab, browser: Browser) -> OpenNotebook:
    """Opens a notebook in the server's folder, and waits for its kernel."""

    def open_it(notebook: Path, *, dark: bool = False) -> Page:
        page = browser.new_page(viewport={"width": 1280, "height": 1000}, color_scheme="dark" if dark else "light")
        page.set_default_timeout(_PATIENCE)
        expect.set_options(timeout=_PATIENCE)
        page.goto(f"{lab.url}/lab/tree/{notebook.relative_to(lab.folder)}?reset")
        page.locator(".jp-Notebook").wait_for()
        page.locator(".jp-StatusBar-Item", has_text="| Idle").filter(visible=True).wait_for()
        return page

    return open_it
