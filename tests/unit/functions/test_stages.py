"""Functions are made of STAGES, over the services that the app is created with."""

from __future__ import annotations

import inspect
from typing import get_type_hints

import azure.functions as func
import pytest

from functions.stages import OWN_WORK, create_app, stage_functions
from shared.pipeline import STAGES, Stage
from shared.ports import Services


def unbuilt() -> Services:
    raise AssertionError("services were built at import")


FUNCTIONS = stage_functions(unbuilt)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_function_has_its_stages_name_and_description_and_takes_what_its_trigger_brings(stage: Stage) -> None:
    function = FUNCTIONS[stage.name]
    assert (function.__name__, function.__doc__) == (stage.name, stage.description)
    brought = {"timer": func.TimerRequest} if stage.timer else {"message": func.ServiceBusMessage}
    assert list(inspect.signature(function).parameters) == list(brought)
    assert get_type_hints(function) == {**brought, "return": type(None)}


def test_a_stage_has_a_step_or_work_of_its_own_and_never_both() -> None:
    assert OWN_WORK.keys() == {stage.name for stage in STAGES if stage.step is None}


def test_an_app_is_created_without_building_its_services() -> None:
    assert len(create_app(unbuilt).get_functions()) == len(STAGES) + 1
