"""`infra/topology.json`: the Service Bus entities of `shared/pipeline.toml`, in the form messaging.bicep reads."""

import json

from shared.domain.topology import TOPIC
from shared.pipeline import TOPOLOGY
from tests.paths import ROOT

FILE = ROOT / "infra" / "topology.json"


def rendered() -> str:
    """A subscription without rules keeps Service Bus's own `$Default`, which lets every message pass."""
    many = TOPOLOGY.topics[TOPIC]
    document = {
        "topic": TOPIC,
        "lockDuration": f"PT{TOPOLOGY.lock_duration_s:.0f}S",
        "maxDeliveryCount": TOPOLOGY.max_delivery_count,
        "queues": list(TOPOLOGY.queues),
        "subscriptions": [subscription.name for subscription in many],
        "rules": [
            {"subscription": subscription.name, "name": "$Default" if index == 0 else subject, "subject": subject}
            for subscription in many
            for index, subject in enumerate(sorted(subscription.subjects or ()))
        ],
    }
    return json.dumps(document, indent=2) + "\n"
