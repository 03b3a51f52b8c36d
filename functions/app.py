"""The function app: HTTP and one function for each stage, over the services it is given."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import azure.functions as func

from functions.stages import create_blueprint
from shared.lazy import lazy
from shared.ports import Services

if TYPE_CHECKING:
    from fastapi import FastAPI


def create_app(services: Callable[[], Services]) -> func.AsgiFunctionApp:
    """`services` is called when a function runs: an import must work with nothing configured."""

    @lazy
    def api() -> "FastAPI":
        from functions.http import create_api  # a third of what the app imports, and one function's

        return create_api(services)

    async def asgi(*call: Any) -> None:
        await api()(*call)

    app = func.AsgiFunctionApp(app=asgi, http_auth_level=func.AuthLevel.ANONYMOUS, function_name="http")
    app.register_functions(create_blueprint(services))
    return app
