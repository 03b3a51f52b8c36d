"""The HTTP side of the app, as FastAPI; Azure Functions passes every request through."""

from collections.abc import Callable

from fastapi import FastAPI

from functions.http import (
    api_docs,
    base_models,
    dashboard,
    datasets,
    dead_letters,
    doctor,
    endpoints,
    errors,
    evaluation,
    graders,
    health,
    openai,
    policy,
    preview,
    runs,
)
from functions.http.auth import Authenticator, configured_authenticator
from functions.http.json_response import JsonResponse
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
    doctor,
    health,
    openai,
    policy,
    api_docs,
    dashboard,
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
    for part in PARTS:
        api.include_router(part.router)
    return api
