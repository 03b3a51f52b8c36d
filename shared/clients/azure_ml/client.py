"""Azure ML behind the ports JobLauncher and ModelHost, over one connection."""

from azure.core.credentials import TokenCredential

from shared.clients.azure_ml.endpoints import AzureMlEndpoints
from shared.clients.azure_ml.jobs import AzureMlJobs
from shared.clients.azure_ml.session import Session
from shared.domain.jobs import JobRole


class AzureMLClient(AzureMlJobs, AzureMlEndpoints):
    """JobLauncher and ModelHost over the REST API, in Azure and against the emulator alike.

    `url`, `credential`, `identity_client_id`, `emulator_secret`: see Session. `job_client_id`, `import_client_id`: the
    identities of its jobs, by role. `endpoint_identity_id`, `endpoint_is_public`: see Endpoints. Thread-safe.
    """

    def __init__(
        self,
        url: str,
        credential: TokenCredential | None = None,
        *,
        identity_client_id: str | None = None,
        job_client_id: str | None = None,
        import_client_id: str | None = None,
        endpoint_identity_id: str | None = None,
        endpoint_is_public: bool = True,
        emulator_secret: str | None = None,
        experiment: str = "droptune",
    ) -> None:
        session = Session(url, credential, identity_client_id=identity_client_id, emulator_secret=emulator_secret)
        AzureMlJobs.__init__(self, session, {JobRole.RUN: job_client_id, JobRole.IMPORT: import_client_id}, experiment)
        AzureMlEndpoints.__init__(self, session, identity_id=endpoint_identity_id, is_public=endpoint_is_public)

    def close(self) -> None:
        """Give the connections back; the client is not used afterwards."""
        self.session.close()
