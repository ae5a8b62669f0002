"""A real headless Chromium, driven by Playwright; what its console complains of is kept."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING, Literal

from scripts.harness.processes import absent, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Page


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start the system's Chromium: Playwright's own download is not needed."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        absent("not installed: chromium (scripts/test installs it where it may)")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - the tests without a browser need none of it

    with sync_playwright() as playwright:
        # No sandbox: CI is root in a container; the pages are our own.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A page that is open, and the errors it reported.

    Args:
        browser: a running Chromium.
        url: what to open.
        width: of the window in pixels.
        height: likewise.
        scheme: light or dark.
        any_certificate: whether one that nobody vouches for is taken.
    """

    def __init__(
        self,
        browser: Browser,
        url: str,
        *,
        width: int = 1280,
        height: int = 900,
        scheme: Literal["light", "dark"] = "light",
        any_certificate: bool = False,
    ) -> None:
        self.errors: list[str] = []

        def complain(line: ConsoleMessage) -> None:
            if line.type == "error":
                self.errors.append(line.text)

        self._context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, ignore_https_errors=any_certificate
        )
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.set_default_navigation_timeout(60_000)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", complain)
        self.page.goto(url)

    def wait(self, expression: str, timeout_s: float = 20) -> None:
        """Wait until a JavaScript expression is true. Not by wait_for_function: a strict page forbids its eval."""
        wait_until(lambda: self.page.evaluate(expression), timeout_s, expression)

    def text(self, selector: str) -> str:
        """The text of an element as a person sees it."""
        return self.page.locator(selector).inner_text()

    def close(self) -> None:
        """Close the tab."""
        self._context.close()
