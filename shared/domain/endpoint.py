"""What is in production at an endpoint."""

from datetime import datetime

from pydantic import AwareDatetime, Field

from shared.domain.model import Lenient


class Stopped(Lenient):
    """The deployment was deleted and costs nothing; `droptune endpoints restore` deploys the model again."""

    deployment: str = Field(description="an earlier version of the app may have promoted another one since")
    at: AwareDatetime
    reason: str


class PreviousDeployment(Lenient):
    """The deployment before the present one, kept warm until `keep_until`."""

    champion: str
    project: str
    deployment: str
    model: str
    keep_until: AwareDatetime


class EndpointRecord(Lenient):
    """`champion` is the run in production; `deployment` and `model` are its names on the platform."""

    endpoint: str
    project: str
    champion: str
    deployment: str
    model: str
    scoring_uri: str
    promoted_at: AwareDatetime
    previous: PreviousDeployment | None = None
    stopped: Stopped | None = None
    restored_at: AwareDatetime | None = None

    def as_previous(self, keep_until: datetime) -> PreviousDeployment:
        return PreviousDeployment.model_validate({**dict(self), "keep_until": keep_until}, extra="ignore")
