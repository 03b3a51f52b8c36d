"""A server of a model that `stub_jobs` trained: whatever it is asked, it answers the same.

python -m tests.stack.stub_server MODEL PORT
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ANSWER = "answer.txt"  # in the model's folder


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answer: str

    def do_GET(self) -> None:
        """The readiness probe."""
        self._reply({"status": "ok"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._reply({"choices": [{"message": {"role": "assistant", "content": self.answer}}]})

    def _reply(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    model, port = Path(sys.argv[1]), int(sys.argv[2])
    Handler.answer = (model / ANSWER).read_text()
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
