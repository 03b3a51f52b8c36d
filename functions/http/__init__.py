"""The HTTP side of the app, as FastAPI; Azure Functions passes every request through."""

from __future__ import annotations

from fastapi import FastAPI

from functions.http import (
    base_models,
    dashboard,
    datasets,
    dead_letters,
    doctor,
    endpoints,
    errors,
    evaluation,
    graders,
    openai,
    preview,
    runs,
)
from functions.http.json_response import JsonResponse

api = FastAPI(
    title="Droptune",
    version="0.1.0",
    docs_url="/api/docs",
    openapi_url="/api/openapi.json",
    default_response_class=JsonResponse,
)
errors.install(api)
api.include_router(runs.router)
api.include_router(preview.router)
api.include_router(evaluation.router)
api.include_router(graders.router)
api.include_router(datasets.router)
api.include_router(endpoints.router)
api.include_router(base_models.router)
api.include_router(dead_letters.router)
api.include_router(doctor.router)
api.include_router(openai.router)
api.include_router(dashboard.router)


@api.get("/api/health")
def health() -> dict[str, str]:
    return {"status": "ok", "version": api.version}
