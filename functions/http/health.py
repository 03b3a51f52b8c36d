"""`/api/health`: the app runs. `/api/doctor`: is everything there that a run will need?"""

from fastapi import APIRouter, Request

from functions.http.auth import Operator
from shared.api.models import Doctor, Health
from shared.health.doctor import examine

VERSION = "0.1.0"

router = APIRouter(prefix="/api")


@router.get("/health", tags=["health"])
def get_health() -> Health:
    """That the app runs. It answers without a token."""
    return Health(status="ok", version=VERSION)


@router.get("/doctor", tags=["doctor"])
def doctor(access: Operator, request: Request) -> Doctor:
    """Asks every service for something harmless; takes seconds. 200 whatever it finds."""
    access.require(None)
    return Doctor(data=tuple(examine(request.app.state.services)))
