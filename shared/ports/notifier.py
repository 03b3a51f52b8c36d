"""The port for notifications."""

from typing import Protocol

# The code of a PermanentFailure that says that the receiver wants no more of anything.
GONE = "webhook_gone"
# The code of a Transient: nothing was sent, since enough calls to the receiver, or for the project, are in progress.
BUSY = "webhook_busy"


class Notifier(Protocol):
    """Delivery of one CloudEvent to one receiver."""

    def deliver(self, url: str, message_id: str, body: bytes, project: str | None = None) -> None:
        """Post once to a URL, or to `channel:NAME`, for a project or the platform.

        Raises Transient (worth a retry) or PermanentFailure (refused for good).
        """
