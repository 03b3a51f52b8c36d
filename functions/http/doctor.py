"""`/api/doctor`: is everything there that a run will need?"""

from fastapi import APIRouter, Request

from functions.http.auth import Operator
from shared.api.models import Doctor
from shared.health.doctor import examine

router = APIRouter(prefix="/api/doctor", tags=["doctor"])


@router.get("")
def doctor(access: Operator, request: Request) -> Doctor:
    """Asks every service for something harmless; takes seconds. 200 whatever it finds."""
    access.require(None)
    return Doctor(data=tuple(examine(request.app.state.services)))
