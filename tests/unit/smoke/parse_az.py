"""`python parse_az.py < LINES.json` where the Azure CLI is installed: prints its version, and what it refuses.

A line is a list of words after `az`. The CLI parses it whole, compiles its query, and stops before it would run it.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from typing import Any

import azure.cli.core
from azure.cli.core import get_default_cli
from knack.events import EVENT_INVOKER_POST_PARSE_ARGS


def stop(*_: Any, **__: Any) -> None:
    raise SystemExit(0)


def refusal(words: list[str]) -> str:
    cli, printed = get_default_cli(), io.StringIO()
    cli.register_event(EVENT_INVOKER_POST_PARSE_ARGS, stop)
    with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
        try:
            code = cli.invoke(words)
        except SystemExit as end:
            code = end.code
    return "" if code == 0 else printed.getvalue().strip() or f"exit code {code}"


json.dump([azure.cli.core.__version__, [refusal(line) for line in json.load(sys.stdin)]], sys.stdout)
