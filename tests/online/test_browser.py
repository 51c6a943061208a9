"""The documentation page, in a real browser that has no internet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.conftest import serving
from tests.online.asking import KEYS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--no-first-run"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]


@pytest.fixture
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.mark.parametrize("root_path", ["", "/models/flights"])
def test_the_page_tries_out_the_example(
    flights_store: Path, tmp_path: Path, browser: Browser, root_path: str
) -> None:
    options = ["--model", "flights", "--models-dir", str(flights_store)]
    options += ["--root-path", root_path] if root_path else []
    with serving(*options, cwd=tmp_path) as server:
        page = browser.new_page()
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{server.url}{root_path}/docs")
        page.locator("#operations-default-predict_predict_post .opblock-summary-control").click()
        page.locator(".execute").click()
        answer = page.locator(".live-responses-table .response-col_description pre").first
        body = json.loads(answer.inner_text())
        page.close()
    assert body["predictions"][0]["prediction"] in (True, False)
    assert all(url.startswith((server.url + root_path, "data:", "blob:")) for url in asked)
    assert errors == []


def test_the_page_of_a_service_with_keys_is_opened_with_one(
    flights_store: Path, tmp_path: Path, browser: Browser, keys: Path
) -> None:
    options = ("--model", "flights", "--models-dir", str(flights_store))
    with serving(*options, "--api-key-file", str(keys), cwd=tmp_path) as server:
        assert server.get("/docs")[0] == 401
        context = browser.new_context(http_credentials={"username": "", "password": KEYS[0]})
        page = context.new_page()
        page.goto(f"{server.url}/docs")
        page.locator("#operations-default-predict_predict_post .opblock-summary-control").click()
        page.locator(".execute").click()
        answer = page.locator(".live-responses-table .response-col_description pre").first
        body = json.loads(answer.inner_text())
        page.locator(".btn.authorize").click()
        assert page.get_by_text("X-API-Key").count() > 0
        context.close()
    assert body["predictions"][0]["prediction"] in (True, False)
