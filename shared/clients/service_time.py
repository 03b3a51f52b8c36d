"""The time by a service's clock."""

from datetime import datetime
from email.utils import parsedate_to_datetime

import httpx

from shared.clients.azure_ml.connection import ARM_HOST, parse_url
from shared.domain.errors import Transient
from shared.tls import tls_context

_TIMEOUT_S = 10.0


def azure_ml_time(azure_ml_url: str) -> datetime | None:
    """The Date header of the control plane, to the second; any answer has one, also a refusal (RFC 9110, 6.6.1).

    None if the answer has none. Raises Transient if nothing answers.
    """
    emulator = parse_url(azure_ml_url).emulator
    url = emulator or f"https://{ARM_HOST}"
    try:
        answer = httpx.head(url, verify=tls_context(), timeout=_TIMEOUT_S, trust_env=emulator is None)
    except httpx.HTTPError as error:
        raise Transient("azure_ml_unreachable", f"{type(error).__name__} at {url}") from error
    date = answer.headers.get("date")
    return parsedate_to_datetime(date) if date else None
