"""What is in production at an endpoint."""

from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict


class PreviousDeployment(BaseModel):
    """The deployment before the present one, kept warm until `keep_until`."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    champion: str
    project: str
    deployment: str
    model: str
    keep_until: AwareDatetime


class EndpointRecord(BaseModel):
    """`champion` is the run in production; `deployment` and `model` are its names on the platform."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    endpoint: str
    project: str
    champion: str
    deployment: str
    model: str
    scoring_uri: str
    promoted_at: AwareDatetime
    previous: PreviousDeployment | None = None

    def as_previous(self, keep_until: datetime) -> PreviousDeployment:
        return PreviousDeployment.model_validate({**dict(self), "keep_until": keep_until}, extra="ignore")
