"""The HTTP side of the app, as FastAPI; Azure Functions passes every request through."""

from collections.abc import Callable

from fastapi import FastAPI

from functions.http import (
    agents,
    base_models,
    datasets,
    endpoints,
    errors,
    graders,
    inbound,
    middleware,
    operate,
    policy,
    rows,
    runs,
    static_files,
    subscriptions,
)
from functions.http.auth import Authenticator, configured_authenticator
from functions.http.errors import JsonResponse
from functions.http.openai import files, jobs
from shared.health.ready import Readiness
from shared.ports import Services

PARTS = (
    runs,
    rows,
    graders,
    datasets,
    endpoints,
    base_models,
    operate,
    agents,
    inbound,
    files,
    jobs,
    policy,
    subscriptions,
    static_files,
)


def create_api(
    services: Callable[[], Services], authenticator: Callable[[], Authenticator] = configured_authenticator
) -> FastAPI:
    """The API over the services and the authenticator that these give; both are asked for when a request comes."""
    api = FastAPI(
        title="Droptune",
        version=operate.VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        default_response_class=JsonResponse,
        responses=errors.RESPONSES,
        generate_unique_id_function=lambda route: route.name,  # tools for agents have these names
    )
    api.state.services, api.state.authenticator = services, authenticator
    api.state.readiness = Readiness()
    errors.install(api)
    api.add_middleware(middleware.Bodies)
    api.add_middleware(middleware.Audit)
    for part in PARTS:
        api.include_router(part.router)
    return api
