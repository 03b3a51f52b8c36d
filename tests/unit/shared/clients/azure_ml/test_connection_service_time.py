"""The clock of Azure ML, as an answer tells it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from shared.clients.azure_ml.connection import azure_ml_time
from shared.domain.errors import Transient

WORKSPACE = "subscriptions/local/resourceGroups/local/workspaces/local"


class Refusing(http.server.BaseHTTPRequestHandler):
    date: str | None = "Fri, 02 Jan 2026 03:04:05 GMT"

    def do_HEAD(self) -> None:
        self.send_response_only(404)
        if self.date:
            self.send_header("Date", self.date)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=[True, False])
def service(request: pytest.FixtureRequest) -> Iterator[tuple[str, bool]]:
    """A URL, and whether its answers have a date."""
    handler = type("Handler", (Refusing,), {} if request.param else {"date": None})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"azureml+http://127.0.0.1:{server.server_port}/{WORKSPACE}", request.param
        server.shutdown()
        thread.join()


def test_a_refusal_tells_the_time_too(service: tuple[str, bool]) -> None:
    url, has_date = service
    assert azure_ml_time(url) == (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC) if has_date else None)


def test_where_nothing_answers_it_may_later() -> None:
    with pytest.raises(Transient) as failed:
        azure_ml_time(f"azureml+http://127.0.0.1:1/{WORKSPACE}")
    assert failed.value.problem.code == "azure_ml_unreachable"
