"""The picture of the documentation page: ``make pictures`` writes it to docs/docs-page.png.

It shows the flights model of the store ``models``, with POST /predict opened. Needs Chromium.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from fastapi.testclient import TestClient
from playwright.sync_api import FloatRect, Page, Route, sync_playwright

from trivet.online.app import create_app
from trivet.online.settings import ServeSettings

PICTURE = Path(__file__).with_name("docs-page.png")
FLAGS = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--no-first-run"]
#: The width of the page and what is left around it, in CSS pixels; the picture has 1,280 pixels.
WIDTH, SCALE, MARGIN = 800, 1.6, 5
#: What stands between the route and its fields, and says nothing about the model.
HIDDEN = (
    ".opblock-body > .opblock-description-wrapper, .parameters-container, "
    ".opblock-section-header:has(+ .parameters-container)"
)
#: The features whose descriptions are opened: one that is required, and one that is often missing.
OPENED = ("dep_delay", "wind_gust")


def main() -> None:
    """Take the picture."""
    settings = ServeSettings("flights")
    with TestClient(create_app(settings)) as service, sync_playwright() as driver:
        while service.get("/health/ready").status_code != 200:
            time.sleep(0.1)
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(
            viewport={"width": WIDTH, "height": 2000}, device_scale_factor=SCALE
        )
        # Answered from this process: no port is opened.
        page.route("**", lambda route: answer(route, service))
        page.goto("http://trivet/docs")
        open_fields(page)
        page.add_style_tag(content=f"{HIDDEN} {{ display: none !important }}")
        page.screenshot(path=PICTURE, clip=part_to_show(page), animations="disabled")
        browser.close()


def answer(route: Route, service: TestClient) -> None:
    """Answer a request of the page."""
    given = service.get(route.request.url)
    route.fulfill(status=given.status_code, headers=dict(given.headers), body=given.content)


def open_fields(page: Page) -> None:
    """Open POST /predict, the schema of a record, and the descriptions of two features."""
    page.locator("#operations-default-predict_predict_post .opblock-summary-control").click()
    body = page.locator(".opblock-section-request-body")
    body.get_by_role("tab", name="Schema").click()
    for name in ("Any of", "#1 Record", *OPENED):
        title = page.get_by_text(name, exact=True)
        body.locator(".json-schema-2020-12-accordion").filter(has=title).click()
    page.mouse.move(0, 0)


def part_to_show(page: Page) -> FloatRect:
    """The rectangle from the beginning of POST /predict to the last opened field, in CSS pixels."""
    block = page.locator(".opblock-post").first
    last = page.get_by_text(OPENED[-1], exact=True).first.locator("xpath=ancestor::article[1]")
    top, bottom = (
        place.evaluate("element => element.getBoundingClientRect().toJSON()")[edge]
        for place, edge in ((block, "top"), (last, "bottom"))
    )
    top, bottom = top - MARGIN, bottom + MARGIN
    return {"x": 0, "y": top, "width": WIDTH, "height": bottom - top}


if __name__ == "__main__":
    main()
