"""A real server of chat completions (OpenAI's shape, as vLLM answers it) that judges as a test says; it also hands out
tokens as Azure ML does to its jobs (azure-identity's source, "Azure ML managed identity")."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from shared.domain.evaluation import JudgeEndpoint


@dataclass
class Reply:
    """`content` of the answer, or another `status`; after a wait."""

    content: str = '{"score": 1, "reason": "right"}'
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    after_s: float = 0.0


@dataclass
class JudgeServer:
    """`judge` sees the last message. `requests` are all requests, body and headers; `at_once` the most under way."""

    judge: Callable[[str], Reply]
    url: str = ""
    requests: list[tuple[dict[str, Any], dict[str, str]]] = field(default_factory=list)
    at_once: int = 0

    def endpoint(self, name: str = "judge") -> JudgeEndpoint:
        url = f"{self.url}/v1/chat/completions"
        return JudgeEndpoint(endpoint=name, deployment="blue", model="big:1", url=url)


@contextmanager
def serve_judge(judge: Callable[[str], Reply]) -> Iterator[JudgeServer]:
    found = JudgeServer(judge)
    lock, under_way = threading.Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            token = {"access_token": "of-the-job", "expires_on": str(int(time.time()) + 3600), "token_type": "Bearer"}
            self._send(200 if self.headers["secret"] == "s" else 401, token, {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                under_way[0] += 1
                found.at_once = max(found.at_once, under_way[0])
                found.requests.append((body, {key.lower(): value for key, value in self.headers.items()}))
            reply = found.judge(body["messages"][-1]["content"])
            time.sleep(reply.after_s)
            with lock:
                under_way[0] -= 1
            choice = {"index": 0, "message": {"role": "assistant", "content": reply.content}, "finish_reason": "stop"}
            self._send(reply.status, {"object": "chat.completion", "choices": [choice]}, reply.headers)

        def _send(self, status: int, body: object, headers: dict[str, str]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A caller that gave up waiting is no error of the server's."""

    server = Server(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
