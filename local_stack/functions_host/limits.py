"""How long the host waits, and what it takes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    receive_wait_s: float = 0.5  # how late a stop may be seen
    after_error_s: float = 1.0
    lease_retry_s: float = 0.5
    max_body_bytes: int = 100 * 1024 * 1024  # Azure's own limit
