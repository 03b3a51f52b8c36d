"""`/api/events`: what the events are, as documents for tools. They say nothing of any run, and need no token."""

from fastapi import APIRouter

from functions.http.errors import ApiError
from functions.http.operate import VERSION
from shared.api import event_catalog
from shared.api.models import SchemaDocument

router = APIRouter(prefix="/api/events", tags=["events"])


@router.get("/asyncapi.json")
def get_asyncapi() -> SchemaDocument:
    """All events as an AsyncAPI 3 document, with an example of each."""
    return SchemaDocument(event_catalog.asyncapi(VERSION))


@router.get("/schemas/{type}")
def get_event_schema(type: str) -> SchemaDocument:
    """JSON schema of one event, such as `droptune.model.promoted.v1`."""
    try:
        return SchemaDocument(event_catalog.schema_of(type))
    except KeyError as error:
        raise ApiError(404, "unknown_event_type", f"no event of type {type}", "type") from error
