"""The only reader of the environment. Every problem is reported at once, by the setting's name."""

import os
from functools import cache
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator

from shared.domain.errors import InvalidInput

# Where one of these is set, others than this machine's people may reach the app. Kudu wiki, "Azure runtime
# environment"; Microsoft Learn, "App settings reference for Azure Functions", "Manage environment variables on Azure
# Container Apps"; Kubernetes docs, "Service"; AWS docs, "Task metadata endpoint version 4", "Lambda environment
# variables"; Google Cloud docs, "Container runtime contract".
CLOUD = (
    *("website_site_name", "website_instance_id", "functions_extension_version", "container_app_name"),
    *("kubernetes_service_host", "ecs_container_metadata_uri_v4", "aws_lambda_function_name", "k_service"),
)


class Settings(BaseModel):
    """The defaults are the embedded ones: a laptop with nothing configured."""

    model_config = ConfigDict(frozen=True)

    run_store_url: str = Field(
        default="sqlite:///.droptune/state.db",
        description="runs; `https://ACCOUNT.documents.azure.com/DATABASE`; an emulator: `cosmos+http://127.0.0.1:PORT/DB`",
    )
    event_bus_url: str = Field(
        default="sqlite:///.droptune/bus.db",
        description="messages; `sb://NAMESPACE.servicebus.windows.net`, or an emulator's connection string",
    )
    blob_store_url: str = Field(
        default="file:.droptune/blobs",
        description="blobs; `https://ACCOUNT.blob.core.windows.net`; an emulator: `blob+http://127.0.0.1:PORT/ACCOUNT`",
    )
    azure_ml_url: str = Field(
        default="azureml+http://127.0.0.1:8765/subscriptions/local/resourceGroups/local/workspaces/local",
        description="jobs and endpoints; `azureml://subscriptions/S/resourceGroups/R/workspaces/W`",
    )
    azure_ml_secret: str | None = Field(
        default=None, repr=False, description="of the emulator that `azureml+http://` names; unused in Azure"
    )
    api_auth_url: str = Field(
        default="loopback:",
        description="`loopback:` on a laptop, or https://login.microsoftonline.com/TENANT/v2.0?audience=AUDIENCE; "
        "`loopback:` is refused where a variable is set that only a cloud sets, as WEBSITE_SITE_NAME",
    )
    azure_client_id: str | None = Field(default=None, description="managed identity of the app")
    job_client_id: str | None = Field(default=None, description="managed identity of jobs; the workspace has it too")
    import_client_id: str | None = Field(default=None, description="managed identity of import jobs; likewise")
    endpoint_identity_id: str | None = Field(default=None, description="resource id of the endpoints' managed identity")
    endpoint_is_public: bool = Field(default=True, description="false: endpoints answer in the private network only")
    default_base_model: str = Field(
        default="droptune/tiny-llama", description="catalog id, for projects without a recipe"
    )
    inline_validation_max_bytes: int = Field(
        default=20_000_000,
        gt=0,
        description="a larger training or held-out file is validated by a job; of a gzip or zip the text counts",
    )
    max_file_bytes: int = Field(
        default=16_000_000_000, gt=0, description="a larger file in the drop zone fails its run before it is read"
    )
    training_environment: str = Field(default="droptune-training:6", description="registered environment of jobs")
    serving_environment: str = Field(default="droptune-serving:4", description="registered environment of endpoints")
    cpu_instance_type: str = Field(default="Standard_E4ds_v4", description="machine of validation and import jobs")
    job_poll_s: float = Field(default=60.0, gt=0, description="a job without an event is looked at this often")
    retry_wait_s: float = Field(default=60.0, gt=0, description="base wait before another attempt of a stage")
    debounce_s: float = Field(default=0.0, ge=0, description="a dropped blob must be this old to start a run")
    project_monthly_usd: float | None = Field(
        default=None,
        gt=0,
        description="training estimates of a project that may be reserved in a month; unset: no limit. Runs that "
        "failed or were cancelled are not counted",
    )
    endpoint_idle_hours: float = Field(
        default=0, ge=0, le=720, description="the most that `deployment.idle_hours` may be, and its default; 0: none"
    )
    run_retention_days: int = Field(
        default=0,
        ge=0,
        le=3650,
        description="days after its end in which a run that deployed nothing is kept; 0: for ever. It holds for runs "
        "that begin from then on",
    )
    reconcile_schedule: str = Field(default="* * * * * *", description="NCRONTAB; looks for what was lost")
    probe_schedule: str = Field(default="* * * * * *", description="NCRONTAB; probes rollouts")
    monitor_schedule: str = Field(
        default="0 */5 * * * *", description="NCRONTAB; asks each model in production `deployment.golden_questions`"
    )
    retire_schedule: str = Field(default="*/10 * * * * *", description="NCRONTAB; deletes old deployments")
    retrain_schedule: str = Field(default="*/30 * * * * *", description="NCRONTAB; looks for due retraining")
    app_url: str = Field(default="", description="where people reach the app, for links in messages; empty: none")
    notify_private_hosts: str = Field(
        default="",
        description="comma-separated hosts that subscriptions may reach by http or in a private network, at any port",
    )

    @model_validator(mode="wrap")
    @classmethod
    def _a_cloud_needs_real_authentication(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        settings, found = handler(given), [name.upper() for name in CLOUD if given.get(name)]
        if found and settings.api_auth_url.startswith("loopback:"):
            raise ValueError(f"API_AUTH_URL: must name an Entra issuer and audience where {found[0]} is set")
        return settings


@cache
def load_settings() -> Settings:
    """Settings of this process, read once on first use.

    Raises InvalidInput `bad_settings` listing every setting that is wrong.
    """
    try:
        return Settings.model_validate({name.lower(): value for name, value in os.environ.items()})
    except ValidationError as error:
        wrong = "; ".join(
            f"{str(item['loc'][0]).upper() if item['loc'] else 'settings'}: {item['msg']}" for item in error.errors()
        )
        raise InvalidInput("bad_settings", wrong) from error


def path_of(url: str, scheme: str) -> Path:
    """The path in `scheme:relative`, `scheme:/absolute` or `scheme:///path` (SQLAlchemy's form: three
    slashes relative, four absolute; `sqlite:////abs`)."""
    rest = url.removeprefix(f"{scheme}:")
    return Path(rest.removeprefix("///") if rest.startswith("///") else rest)
