"""The job's managed identity, where a job calls something: a judge's endpoint."""

import os
from functools import cache
from typing import Any

from shared.domain.jobs import SCORING_SCOPE


def scoring_token() -> str:
    """A token for online endpoints; the SDK keeps it until it runs out.

    Raises PermanentFailure `no_identity` of class platform.
    """
    from azure.core.exceptions import AzureError

    from shared.domain.errors import FailureClass, PermanentFailure

    try:
        return str(_credential().get_token(SCORING_SCOPE).token)
    except (AzureError, ValueError) as error:
        message = f"the job's identity gets no token for its judge: {type(error).__name__}"
        raise PermanentFailure(FailureClass.PLATFORM, "no_identity", message) from error


@cache
def _credential() -> Any:
    """The variable holds the client id of a job's identity (Microsoft Learn, "Set up authentication between Azure
    Machine Learning and other services")."""
    from azure.identity import ManagedIdentityCredential

    return ManagedIdentityCredential(client_id=os.environ.get("DEFAULT_IDENTITY_CLIENT_ID"))
