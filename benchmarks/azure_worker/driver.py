"""Holds Microsoft's Python worker library as its dispatcher does; answers requests, one JSON line each.

    python driver.py FUNCTION_APP_DIRECTORY

The order of calls and the objects handed over are those of `proxy_worker/dispatcher.py` in
Azure/azure-functions-python-worker; values become TypedData as the Functions host makes them
(GrpcMessageConversionExtensions.ToRpc in Azure/azure-functions-host). Runs in the worker's environment.
"""

import asyncio
import base64
import json
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure_functions_runtime as library  # type: ignore[import-not-found]  # of the environment it runs in
import protos  # type: ignore[import-not-found]

_NO_TRACE = SimpleNamespace(trace_parent="", trace_state="", attributes={})
_NO_RETRY = SimpleNamespace(retry_count=0, max_retry_count=0, exception=None)


def to_rpc(value: Any) -> protos.TypedData:
    """`{"base64": ...}` stands for bytes, which JSON has not."""
    if value is None:
        return protos.TypedData()
    if isinstance(value, dict) and value.keys() == {"base64"}:
        return protos.TypedData(bytes=base64.b64decode(value["base64"]))
    if isinstance(value, str):
        return protos.TypedData(string=value)
    if isinstance(value, float):
        return protos.TypedData(double=value)
    return protos.TypedData(json=json.dumps(value))


def worker_request(name: str, content: Any, properties: dict[str, Any] | None = None) -> SimpleNamespace:
    return SimpleNamespace(name=name, request=SimpleNamespace(**{name: content}), properties=properties)


def checked(response: Any) -> Any:
    """Raises RuntimeError with the worker's own words."""
    if response.result.status != protos.StatusResult.Success:
        raise RuntimeError(f"{response.result.exception.message}\n{response.result.exception.stack_trace}")
    return response


class HeldWorker:
    def __init__(self, app: Path) -> None:
        self._app = app
        self._ids: dict[str, str] = {}

    async def init(self) -> dict[str, Any]:
        library.start_threadpool_executor()
        content = SimpleNamespace(capabilities={}, function_app_directory=str(self._app))
        request = worker_request("worker_init_request", content, {"protos": protos, "host": "127.0.0.1"})
        response = checked(await library.worker_init_request(request))
        worker: dict[str, Any] = vars(response.worker_metadata)
        return worker

    async def metadata(self) -> dict[str, Any]:
        """Each function's bindings as the host gets them."""
        request = worker_request("functions_metadata_request", SimpleNamespace())
        response = checked(await library.functions_metadata_request(request))
        self._ids = {found.name: found.function_id for found in response.function_metadata_results}
        return {
            found.name: {
                "bindings": [json.loads(binding) for binding in found.raw_bindings],
                "script_file": found.script_file,
                "language": found.language,
                "retry": found.retry_options is not None,
            }
            for found in response.function_metadata_results
        }

    async def load(self, function: str) -> None:
        content = SimpleNamespace(function_id=self._ids[function], metadata=SimpleNamespace(name=function))
        checked(await library.function_load_request(worker_request("function_load_request", content)))

    async def invoke(self, function: str, argument: str, value: Any, metadata: dict[str, Any]) -> None:
        await self._invoke(function, argument, to_rpc(value), metadata)

    async def http(self, method: str, url: str, route: str, headers: dict[str, str], body: Any) -> dict[str, Any]:
        request = protos.RpcHttp(
            method=method, url=url, headers=headers, params={"route": route}, query={}, body=to_rpc(body)
        )
        returned = await self._invoke("http", "req", protos.TypedData(http=request), {})
        answer = returned.http
        return {"status": int(answer.status_code), "headers": answer.headers, "body": answer.body.bytes.decode()}

    async def _invoke(self, function: str, argument: str, data: protos.TypedData, metadata: dict[str, Any]) -> Any:
        content = SimpleNamespace(
            invocation_id=str(uuid.uuid4()),
            function_id=self._ids[function],
            input_data=[protos.ParameterBinding(name=argument, data=data)],
            trigger_metadata={name: to_rpc(value) for name, value in metadata.items() if value is not None},
            trace_context=_NO_TRACE,
            retry_context=_NO_RETRY,
        )
        return checked(await library.invocation_request(worker_request("invocation_request", content))).return_value


async def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # what the app prints is no answer
    app = Path(sys.argv[1])
    sys.path.insert(0, str(app))
    worker = HeldWorker(app)
    while line := await asyncio.to_thread(sys.stdin.readline):
        request = json.loads(line)
        try:
            answer = {"result": await getattr(worker, request.pop("do"))(**request)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
