"""The port for notifications."""

from typing import Protocol

# The code of a Transient that says that nothing was sent: the receiver has enough calls in progress.
BUSY = "webhook_busy"


class Notifier(Protocol):
    """Delivery of one CloudEvent to one receiver."""

    def deliver(self, url: str, message_id: str, body: bytes) -> None:
        """Post once. Raises Transient (worth a retry) or PermanentFailure (refused for good)."""
