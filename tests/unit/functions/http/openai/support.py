"""What tests of this package share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import yaml

from shared.domain.commands import parse_request
from shared.domain.run import Run
from shared.ports import Services
from shared.runner import Runner
from shared.steps.receive_dataset import receive_dataset
from tests.unit.shared.support import take

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.fine_tuning import FineTuningJob


BASE = "droptune/tiny-llama"


def create(ai: OpenAI, training: str, **parameters: Any) -> FineTuningJob:
    return ai.fine_tuning.jobs.create(training_file=training, model=BASE, **parameters)


def receive(services: Services) -> Run:
    """The run that the order on the bus makes."""
    (message,) = take(services, "storage-events")
    reception = receive_dataset(parse_request(orjson.loads(message.message.body)), services)
    assert reception is not None
    return Runner(services).create(reception, message.message.id, message.message.subject)


def recipe(services: Services, run: Run) -> dict[str, Any]:
    path = run.dataset.path.rsplit("/", 1)[0] + "/recipe.yaml"
    return dict(yaml.safe_load(b"".join(services.blobs.read(path))))
