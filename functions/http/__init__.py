"""The HTTP side of the app, as FastAPI; Azure Functions passes every request through."""

from collections.abc import Callable

from fastapi import FastAPI

from functions.http import (
    audit,
    base_models,
    bodies,
    datasets,
    dead_letters,
    endpoints,
    errors,
    evaluation,
    graders,
    health,
    openai,
    policy,
    preview,
    runs,
    static_files,
)
from functions.http.auth import Authenticator, configured_authenticator
from functions.http.errors import JsonResponse
from shared.ports import Services

PARTS = (
    runs,
    preview,
    evaluation,
    graders,
    datasets,
    endpoints,
    base_models,
    dead_letters,
    health,
    openai,
    policy,
    static_files,
)


def create_api(
    services: Callable[[], Services], authenticator: Callable[[], Authenticator] = configured_authenticator
) -> FastAPI:
    """The API over the services and the authenticator that these give; both are asked for when a request comes."""
    api = FastAPI(
        title="Droptune",
        version=health.VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        default_response_class=JsonResponse,
        responses=errors.RESPONSES,
    )
    api.state.services, api.state.authenticator = services, authenticator
    errors.install(api)
    api.add_middleware(bodies.Bodies)
    api.add_middleware(audit.Audit)
    for part in PARTS:
        api.include_router(part.router)
    return api
