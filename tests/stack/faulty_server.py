"""A model server for tests of rollouts: the real one behind a proxy that injects faults on request.

    python tests/stack/faulty_server.py --port PORT --faults DIR COMMAND...

COMMAND is the real server's, `{inner_port}` in it its port. Every request is passed on, until `DIR/RUN.json` of
the run whose model is served holds a fault, and one whole probe of the rollout was answered well. From
then on, with the file's `kind`:

    drop_connections    nobody gets an answer
    fail_some           every third request, the first among them, is answered 500
    uppercase           answers are in capitals
    another_template    every prompt is rendered with a system message more
    elsewhere           another server, `url`, answers
    slow                answers take ten times as long, but at most 20 s more, and a second and a half
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from local_stack.processes import free_port
from shared.steps.probe_deployments import QUESTIONS

PINNED = "azureml-model-deployment"
SYSTEM = {"role": "system", "content": "Answer in plain words."}


class FaultProxy(ThreadingHTTPServer):
    """Counts the requests of the probe, which name the deployment, and those of people, which do not."""

    daemon_threads = True

    def __init__(self, port: int, inner_port: int, fault_file: Path) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.inner = f"http://127.0.0.1:{inner_port}"
        self._fault_file, self._lock = fault_file, threading.Lock()
        self._probes, self._bad = 0, {True: 0, False: 0}

    def fault_for(self, pinned: bool) -> tuple[dict[str, Any] | None, int]:
        """What to do to the next request, and how many of its sort were treated so, this one included."""
        with self._lock:
            if self._probes < QUESTIONS or not self._fault_file.exists():
                self._probes += pinned
                return None, 0
            self._bad[pinned] += 1
            return json.loads(self._fault_file.read_text()), self._bad[pinned]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultProxy

    def do_GET(self) -> None:
        self._pass(self.server.inner, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        fault, number = self.server.fault_for(PINNED in self.headers)
        match fault and fault["kind"]:
            case None:
                self._pass(self.server.inner, body)
            case "drop_connections":
                self.close_connection = True
            case "fail_some" if number % 3 == 1:
                self._answer(500, b'{"error": "out of memory"}')
            case "fail_some":
                self._pass(self.server.inner, body)
            case "uppercase":
                self._answer(*_uppercased(self._ask(self.server.inner, body)))
            case "another_template":
                self._pass(self.server.inner, _with_system_message(body))
            case "elsewhere":
                assert fault is not None
                self._pass(fault["url"], body)
            case "slow":
                began = time.monotonic()
                answer = self._ask(self.server.inner, body)
                time.sleep(min(9 * (time.monotonic() - began), 20) + 1.5)
                self._answer(*answer)

    def _pass(self, url: str, body: bytes) -> None:
        try:
            answer = self._ask(url, body)
        except OSError as error:  # the real server is not up yet
            answer = 503, str(error).encode()
        self._answer(*answer)

    def _ask(self, url: str, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        try:
            connection.request(self.command, self.path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """The real server logs its requests."""


def _uppercased(answer: tuple[int, bytes]) -> tuple[int, bytes]:
    status, body = answer
    fields = json.loads(body)
    for choice in fields["choices"]:
        choice["message"]["content"] = choice["message"]["content"].upper()
    return status, json.dumps(fields).encode()


def _with_system_message(body: bytes) -> bytes:
    fields = json.loads(body)
    return json.dumps({**fields, "messages": [SYSTEM, *fields["messages"]]}).encode()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--faults", type=Path, required=True)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    command = " ".join(options.command)
    found = re.search(r"run-[0-9a-f]{12}", command)
    assert found, f"no run's model is served by {command}"
    inner_port = free_port(None)
    real = subprocess.Popen([part.replace("{inner_port}", f"{inner_port}") for part in options.command])
    proxy = FaultProxy(options.port, inner_port, options.faults / f"{found[0]}.json")
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    return real.wait()


if __name__ == "__main__":
    sys.exit(main())
