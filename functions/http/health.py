"""`/api/health`: the app runs. It answers without a token."""

from fastapi import APIRouter

from shared.api.models import Health

VERSION = "0.1.0"

router = APIRouter(tags=["health"])


@router.get("/api/health")
def get_health() -> Health:
    """That the app runs."""
    return Health(status="ok", version=VERSION)
