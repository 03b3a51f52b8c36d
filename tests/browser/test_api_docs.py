"""/api/docs in a real browser."""

from __future__ import annotations

from tests.browser.conftest import Browser, Stack


def test_the_api_is_documented_without_the_internet_and_under_the_pages_policy(browser: Browser, stack: Stack) -> None:
    browser.open(f"{stack.server.url}/api/docs")
    browser.shows("#swagger-ui .opblock-summary-path", "/api/runs/{run_id}/metrics")
    browser.one("#operations-runs-list_runs .opblock-summary-control").click()
    browser.shows("#operations-runs-list_runs", "Newest first.")
    browser.shows("#operations-runs-list_runs .responses-table", "fingerprint")
    assert browser.console_messages() == []
    requests = [each for each in browser.requests() if not each.startswith(("about:", "data:", "chrome"))]
    assert f"{stack.server.url}/api/openapi.json" in requests
    assert {each for each in requests if not each.startswith(f"{stack.server.url}/")} == set()
