"""LLM judges of `score_model` graders: their endpoints, and how many requests an evaluation sent them."""

from shared.domain.model import Frozen, Text


class JudgeEndpoint(Frozen):
    """A judge as it was when the job was submitted: one deployment, so that all models get the same judge.

    `model` is the registered model behind it, NAME:VERSION; `url` takes chat completions.
    """

    endpoint: str
    deployment: str
    model: str
    url: str


class Judges(Frozen):
    """The judges that a job's recipe names."""

    judges: tuple[JudgeEndpoint, ...]


class JudgeUse(Frozen):
    """How an evaluation used one judge. `requests` counts retries too; `cached`: replies of earlier ones."""

    endpoint: Text
    deployment: Text
    model: Text
    requests: int
    cached: int
