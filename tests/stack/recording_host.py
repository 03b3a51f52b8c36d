"""The functions host with a recorder of what it asks of Azure, as operations of Azure's access control.

    python -m tests.stack.recording_host OPERATIONS.jsonl HOST-OPTIONS...

A line is operation, scope and the function that asked. What the watcher of the drop zone does is Event Grid's.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from azure.core.pipeline.transport import RequestsTransport
from azure.servicebus import ServiceBusReceiver, ServiceBusSender

from local_stack import host
from local_stack.emulators import CONTAINERS
from shared.settings import load_settings
from tests.paths import ROOT

SDK_THREAD = "a thread of the SDK"
PRODUCT = (ROOT / "shared", ROOT / "functions")
ML = "Microsoft.MachineLearningServices"
ACCOUNT, ITEMS = "Microsoft.DocumentDB/databaseAccounts", "sqlDatabases/containers/items"
BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers"
BUS = "Microsoft.ServiceBus/namespaces/messages"
_INSIGHTS = re.compile(r".*?(?P<workspace>/workspaces/.*)?/providers/(?P<type>Microsoft\.Insights/\w+)(/[^/]+)?")
_ARM = re.compile(rf".*?/providers/{re.escape(ML)}/(?P<path>[^?]+)")
_VERBS = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
_ITEM_VERBS = {"GET": "read", "PUT": "replace", "DELETE": "delete", "POST": "create"}

Operation = tuple[str, str]


def of_azure_ml(method: str, path: str) -> Iterator[Operation]:
    """Microsoft Learn, "Azure permissions for AI + machine learning": the type and what is done to it.

    Azure Monitor: of the workspace's own, and autoscale settings, which are in the resource group.
    Data planes: the same page has runs, which are what run history and MLflow (REST `runs`, `metrics`) read, and
    scoring. The discovery document needs a token and no right, the service's clock neither.
    """
    if path.startswith("/endpoints/"):
        yield f"{ML}/workspaces/onlineEndpoints/score/action", "workspace"
    elif "/providers/Microsoft.Insights/metrics" in path:
        yield f"Microsoft.Insights/metrics/{_VERBS[method]}", "workspace"
    elif path.startswith(("/history/", "/mlflow/")):
        yield f"{ML}/workspaces/experiments/runs/{_VERBS.get(method, 'write')}", "workspace"
    elif match := _INSIGHTS.fullmatch(path):
        yield f"{match['type']}/{_VERBS[method]}", "workspace" if match["workspace"] else "group"
    elif match := _ARM.fullmatch(path):
        first, *rest = match["path"].split("/")
        if first == "locations":
            yield f"{ML}/locations/{rest[1]}/{_VERBS[method]}", "subscription"
        else:
            types = [first, *rest[1::2]]
            action = types.pop() + "/action" if method == "POST" else _VERBS[method]
            yield "/".join([ML, *types, action]), "workspace"
    else:
        assert path in ("", "/discovery"), (method, path)


def of_blobs(method: str, path: str, query: dict[str, list[str]]) -> Iterator[Operation]:
    """Microsoft Learn, "Authorize access using Microsoft Entra ID", permissions for calling data operations."""
    _, container, *name = path.strip("/").split("/")
    assert container in CONTAINERS, (method, path, query)
    listed = method == "GET" and not name
    assert name or listed, (method, path, query)
    yield f"{BLOBS}/blobs/{_VERBS[method]}", f"data/{container}"


def of_cosmos(method: str, path: str, headers: dict[str, str], body: Any) -> Iterator[Operation]:
    """Microsoft Learn, "Azure Cosmos DB for NoSQL data plane actions"."""
    scope = "cosmos/droptune"
    if not path.rstrip("/").endswith("/docs") and "/docs/" not in path:
        yield f"{ACCOUNT}/readMetadata", scope
    elif headers.get("content-type", "").endswith("query+json"):
        yield f"{ACCOUNT}/sqlDatabases/containers/executeQuery", scope
    elif headers.get("x-ms-cosmos-is-batch-request", "").lower() == "true":
        for operation in json.loads(body):
            yield f"{ACCOUNT}/{ITEMS}/{operation['operationType'].lower()}", scope
    else:
        yield f"{ACCOUNT}/{ITEMS}/{_ITEM_VERBS[method]}", scope


class Recorder:
    def __init__(self, file: Path) -> None:
        self._file, self._lock = file, threading.Lock()
        self._known: set[tuple[str, str, str]] = set()
        settings = load_settings()
        self._ports = {
            urlsplit(url.partition("+")[2]).port: name
            for name, url in (
                ("blobs", settings.blob_store_url),
                ("cosmos", settings.run_store_url),
                ("azure_ml", settings.azure_ml_url or ""),
            )
        }

    def http(self, method: str, url: str, headers: Any, body: Any) -> None:
        parts = urlsplit(url)
        match self._ports.get(parts.port):
            case "blobs":
                self.add(of_blobs(method, parts.path, parse_qs(parts.query)))
            case "cosmos":
                named = {name.lower(): str(value) for name, value in headers.items()}
                self.add(of_cosmos(method, parts.path, named, body))
            case "azure_ml":
                self.add(of_azure_ml(method, parts.path))

    def add(self, operations: Iterator[Operation]) -> None:
        if threading.current_thread().name == "drop-watcher":
            return
        for operation, scope in operations:
            entry = (operation, scope, _use(sys._getframe()))
            with self._lock:
                if entry not in self._known:
                    self._known.add(entry)
                    with self._file.open("a") as output:
                        output.write(json.dumps(entry) + "\n")


def _use(frame: FrameType | None) -> str:
    """The innermost function of the product that is no client."""
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if any(map(file.is_relative_to, PRODUCT)) and not file.is_relative_to(ROOT / "shared" / "clients"):
            module = file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
            return f"{module}.{frame.f_code.co_qualname.partition('.<')[0]}"
        frame = frame.f_back
    return SDK_THREAD


def install(recorder: Recorder) -> None:
    send, send_httpx = RequestsTransport.send, httpx.Client.send

    def sent(self: Any, request: Any, **options: Any) -> Any:
        recorder.http(request.method, request.url, request.headers, request.body if hasattr(request, "body") else None)
        return send(self, request, **options)

    def sent_by_httpx(self: Any, request: httpx.Request, **options: Any) -> Any:
        recorder.http(request.method, str(request.url), request.headers, None)
        return send_httpx(self, request, **options)

    RequestsTransport.send = sent
    httpx.Client.send = sent_by_httpx  # type: ignore[method-assign]
    _record_link(ServiceBusSender, "send_messages", "send", recorder)
    for method in ("receive_messages", "peek_messages"):
        _record_link(ServiceBusReceiver, method, "receive", recorder)


def _record_link(link: type, method: str, right: str, recorder: Recorder) -> None:
    """Microsoft Learn, "Azure permissions for Integration": to send to an entity, or to receive from it."""
    call: Callable[..., Any] = getattr(link, method)

    def recorded(self: Any, *arguments: Any, **options: Any) -> Any:
        recorder.add(iter([(f"{BUS}/{right}/action", f"bus/{self._entity_name.split('/')[0]}")]))
        return call(self, *arguments, **options)

    setattr(link, method, recorded)


if __name__ == "__main__":
    install(Recorder(Path(sys.argv[1])))
    sys.exit(host.main(sys.argv[2:]))
