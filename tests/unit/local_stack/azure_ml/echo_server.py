"""The smallest server a deployment can run: `echo_server.py MODEL_FOLDER PORT`; answers with its name.

Environment variables: EXIT_AT_START crashes it, NEVER_READY keeps its probe failing, ANSWER_STATUS is what
it answers to chats, ANSWER_AFTER_S how late, ANSWER with what words. After the chat "fall silent" its probes fail.
"""

from __future__ import annotations

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODEL = Path(sys.argv[1]).name


class Handler(BaseHTTPRequestHandler):
    silent = False

    def do_GET(self) -> None:
        self._answer(503 if self.silent or os.environ.get("NEVER_READY") else 200, {"status": "ok", "path": self.path})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        Handler.silent |= body["messages"][-1]["content"] == "fall silent"
        time.sleep(float(os.environ.get("ANSWER_AFTER_S", "0")))
        content = os.environ.get("ANSWER") or f"{MODEL}: {body['messages'][-1]['content']}"
        self._answer(
            int(os.environ.get("ANSWER_STATUS", "200")),
            {"choices": [{"message": {"role": "assistant", "content": content}}], "asked": body},
        )

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        print(format % args, flush=True)


if __name__ == "__main__":
    if os.environ.get("EXIT_AT_START"):
        sys.exit("the weights do not fit")
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
