"""What a route asks for: the services of the app that it belongs to."""

from typing import Annotated

from fastapi import Depends, Request

from shared.ports import Services
from shared.runner import Runner


def get_services(request: Request) -> Services:
    services: Services = request.app.state.services()
    return services


def get_runner(request: Request) -> Runner:
    return Runner(get_services(request))


# A route names these after its caller: dependencies are solved in order, so the app builds nothing for a caller
# without a role.
CurrentServices = Annotated[Services, Depends(get_services)]
CurrentRunner = Annotated[Runner, Depends(get_runner)]
