"""`/api/doctor`: is everything there that a run will need?"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from functions.http.auth import OPERATOR, Caller, may
from shared.health.doctor import examine

router = APIRouter(prefix="/api/doctor", tags=["doctor"])


@router.get("")
def doctor(_: Annotated[Caller, Depends(may(OPERATOR))]) -> dict[str, Any]:
    """Asks every service for something harmless; takes seconds. 200 whatever it finds."""
    return {"data": [check.model_dump(mode="json") for check in examine()]}
