from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from local_stack.demo.prepare import DemoFailed
from local_stack.demo.report import ask
from tests.paths import ROOT

HELD_OUT = ROOT / "recipes" / "manufacturing" / "eval.jsonl"


@pytest.fixture
def endpoint() -> Iterator[tuple[str, list[str]]]:
    """A server that answers as a model does, and notes who asked and where."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append(f"{self.path} {self.headers['Authorization']}")
            body = json.dumps({"choices": [{"message": {"content": "hex nut"}}]}).encode()
            self.send_response(200 if self.path.startswith("/endpoints/") else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "my secret"
    file.write_text("abc")
    return file


def test_the_endpoint_is_asked_with_the_request_that_is_shown(endpoint: tuple[str, list[str]], secret: Path) -> None:
    url, seen = endpoint
    example = ask(f"{url}/endpoints/plant/", HELD_OUT, secret)
    assert example.answer == "hex nut"
    subprocess.run(example.curl(), shell=True, check=True)
    assert seen == ["/endpoints/plant/v1/chat/completions Bearer abc"] * 2
    assert example.url in example.curl()
    assert example.question in example.curl()


def test_an_endpoint_that_does_not_answer_fails_the_demo(endpoint: tuple[str, list[str]], secret: Path) -> None:
    with pytest.raises(DemoFailed, match="503"):
        ask(f"{endpoint[0]}/gone", HELD_OUT, secret)
