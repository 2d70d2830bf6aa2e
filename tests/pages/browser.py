"""Opens a page in headless Chromium, without a network, and fails on whatever goes wrong there."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def _required(what: str) -> None:
    """Skips, or fails where LOVASZ_EXPECT_CHROMIUM=on says that there must be a browser."""
    if os.environ.get("LOVASZ_EXPECT_CHROMIUM") == "on":
        pytest.fail(f"LOVASZ_EXPECT_CHROMIUM is on, but there is no {what}")
    pytest.skip(f"there is no {what}")


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser, of Playwright and the system's Chromium; without them the test is skipped."""
    executable = shutil.which("chromium")
    if executable is None:
        _required("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _required("playwright")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def open_page(browser: Any, path: Path, width: int, dark: bool = False, site: Path | None = None) -> Iterator[Any]:
    """A page of a file at this width; console errors, page errors and requests for anything else fail the test.

    A page of a site may load the files of its folder.
    """
    wrong: list[str] = []
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", offline=True
    )
    page = context.new_page()
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    url = path.resolve().as_uri()
    folder = f"{site.resolve().as_uri()}/" if site is not None else None

    def requested(request: Any) -> None:
        own = request.url.split("#")[0] == url or (folder is not None and request.url.startswith(folder))
        if not own and not request.url.startswith("data:"):
            wrong.append(f"requests {request.url}")

    page.on("request", requested)
    page.on("requestfailed", lambda request: wrong.append(f"{request.url} failed"))
    try:
        page.goto(url)
        yield page
    finally:
        context.close()
    assert not wrong, wrong
