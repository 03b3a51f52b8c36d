"""Judges of `score_model` graders: where they are asked, and what asking them came to."""

from __future__ import annotations

from shared.domain.model import Frozen


class JudgeEndpoint(Frozen):
    """A judge as it was when the job was submitted: one deployment, so that all models meet the same one.

    `model` is the registered model behind it, NAME:VERSION; `url` takes chat completions.
    """

    endpoint: str
    deployment: str
    model: str
    url: str


class Judges(Frozen):
    """What a job is told of the judges that its recipe names."""

    judges: tuple[JudgeEndpoint, ...]


class JudgeUse(Frozen):
    """What an evaluation asked of one judge. `requests` counts retries too; `cached`: replies of earlier ones."""

    endpoint: str
    deployment: str
    model: str
    requests: int
    cached: int
