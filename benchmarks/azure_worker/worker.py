"""The driver's other end: what the Functions host would ask of the worker."""

import base64
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.ports import ReceivedMessage

_DRIVER = Path(__file__).with_name("driver.py")


class WorkerFailure(Exception):
    """The worker answered with a failure, told in its own words."""


class AzureWorker:
    """Microsoft's language worker holding our app, in a process and an environment of its own."""

    def __init__(self, python: Path, app: Path, settings: Mapping[str, str], folder: Path) -> None:
        environ = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")}
        self._log = (folder / "worker.log").open("wb")
        self._process = subprocess.Popen(
            [str(python), str(_DRIVER), str(app)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=folder,
            env={**environ, **settings},
            text=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, do: str, **parameters: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **parameters}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the worker died: {Path(self._log.name).read_text()[-2000:]}"
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerFailure(answer["error"])
        return answer["result"]

    def bring(self, function: str, received: ReceivedMessage, *, body_as: str = "string") -> None:
        """Invoke with a Service Bus message; returning completes it, WorkerFailure abandons it."""
        message = received.message
        properties = dict(message.properties)
        metadata = {
            "MessageId": message.id,
            "Subject": message.subject,
            "Label": message.subject,
            "LockToken": received.lock_token,
            "DeliveryCount": received.delivery_count,
            "SequenceNumber": received.sequence_number,
            "EnqueuedTimeUtc": received.enqueued_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "ApplicationProperties": properties,
            "UserProperties": properties,
        }
        body = message.body.decode() if body_as == "string" else {"base64": base64.b64encode(message.body).decode()}
        self.ask("invoke", function=function, argument="message", value=body, metadata=metadata)

    def tick(self, function: str) -> None:
        timer = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": False}
        self.ask("invoke", function=function, argument="timer", value=timer, metadata={})

    def get(self, path: str) -> dict[str, Any]:
        """GET from this machine."""
        url, headers = f"http://127.0.0.1:7071{path}", {"host": "127.0.0.1:7071"}
        answer: dict[str, Any] = self.ask(
            "http", method="GET", url=url, route=path.lstrip("/"), headers=headers, body=None
        )
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()
        self._log.close()
