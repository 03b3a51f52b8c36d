"""The function app: HTTP and one function for each stage, over the services it is given."""

from collections.abc import Callable

import azure.functions as func

from functions.http import create_api
from functions.stages import create_blueprint
from shared.ports import Services


def create_app(services: Callable[[], Services]) -> func.AsgiFunctionApp:
    """`services` is called when a function runs: an import must work with nothing configured."""
    app = func.AsgiFunctionApp(app=create_api(services), http_auth_level=func.AuthLevel.ANONYMOUS, function_name="http")
    app.register_functions(create_blueprint(services))
    return app
