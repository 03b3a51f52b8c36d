"""The one class that writes JSON answers."""

import json
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi.responses import JSONResponse

from shared.domain.model import finite


class JsonResponse(JSONResponse):
    """Writes NaN and infinity as null, a lone surrogate as `?`, and any integer.

    JSON has no such numbers, and UTF-8 no such characters. A diverged training job logs the ones, and a request may
    hold the others as `\\ud800`, which an error then quotes. Starlette's own class raises on both.
    """

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """With rows in it, an answer is nothing that a browser keeps or guesses a type of."""
        super().init_headers({"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", **(headers or {})})

    def render(self, content: Any) -> bytes:
        try:
            return orjson.dumps(content)
        except TypeError:
            return json.dumps(_encodable(content), ensure_ascii=False).encode()


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_encodable(each) for each in value]
    return finite(value)
