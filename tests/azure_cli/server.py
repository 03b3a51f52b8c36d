"""The real Azure CLI behind a socket: `python -m tests.azure_cli.server SOCKET ANSWERS` in `.venv-azure-cli`.

Loading it takes a second or more, so a process that has loaded it forks for each command line. A line that arrives is
JSON: arguments, working directory, input. The answer is exit code, output, errors. What it would ask Azure it asks
ANSWERS, a local address, by the same method, path, headers and body; the address it meant is in the header `Meant`. A
token is `of-<tenant>`: Entra gets no request. Everything between is the CLI's own.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import socket
import sys
import time
from typing import Any

import requests.adapters
from azure.cli.core import get_default_cli
from azure.cli.core.auth.identity import Identity
from knack.events import EVENT_INVOKER_POST_PARSE_ARGS


class _Credential:
    def __init__(self, tenant: str) -> None:
        self.tenant = tenant

    def acquire_token(self, scopes: list[str], **_: Any) -> dict[str, Any]:
        return {"access_token": f"of-{self.tenant}", "expires_in": 3600, "token_type": "Bearer"}


def _ask_locally(answers: str) -> None:
    send = requests.adapters.HTTPAdapter.send

    def local(self: Any, request: Any, *arguments: Any, **named: Any) -> Any:
        request.headers["Meant"], request.url = request.url, answers
        response = send(self, request, *arguments, **named)
        response.url = request.headers["Meant"]
        return response

    requests.adapters.HTTPAdapter.send = local  # type: ignore[method-assign]
    Identity.get_user_credential = lambda self, name: _Credential(self.tenant_id)


def _run(arguments: list[str]) -> tuple[int, str, str]:
    out, errors = io.StringIO(), io.StringIO()
    for name in ("cli", "azure"):  # what was loaded before wrote to another stream
        logging.getLogger(name).handlers.clear()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            code = get_default_cli().invoke(arguments, out_file=out)
        except SystemExit as end:
            code = end.code
    return code or 0, out.getvalue(), errors.getvalue()


def _load() -> None:
    """Import what a few command lines need, before the first fork."""

    def stop(*_: Any, **__: Any) -> None:
        raise SystemExit(0)

    for words in ("ad app list", "role definition list", "provider list", "acr repository show -n x --image x",
                  "functionapp list-flexconsumption-locations", "storage sku list", "rest --url x"):  # fmt: skip
        cli = get_default_cli()
        cli.register_event(EVENT_INVOKER_POST_PARSE_ARGS, stop)
        with contextlib.suppress(SystemExit), contextlib.redirect_stderr(io.StringIO()):
            cli.invoke(words.split())


def main(path: str, answers: str) -> None:
    _ask_locally(answers)
    _load()
    time.sleep = lambda _: None  # between two looks at something that takes minutes
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    print("ready", flush=True)
    while True:
        caller, _ = listener.accept()
        if os.fork():
            caller.close()
            continue
        with caller, caller.makefile("rw") as lines:
            arguments, folder = json.loads(lines.readline())
            os.chdir(folder)
            json.dump(_run(arguments), lines)
        os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
