"""The function app: creates the app, registers each blueprint."""

import azure.functions as func

from functions import data, deployment, jobs, lifecycle, notifications
from functions.http import api

app = func.AsgiFunctionApp(app=api, http_auth_level=func.AuthLevel.ANONYMOUS, function_name="http")

for part in (data, jobs, deployment, lifecycle, notifications):
    app.register_functions(part.blueprint)
