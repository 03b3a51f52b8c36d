"""The one class that writes JSON answers."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi.responses import JSONResponse


class JsonResponse(JSONResponse):
    """Writes NaN and infinity as null.

    JSON has no such numbers. A diverged training job logs them, and Starlette's own class raises on them.
    """

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)
