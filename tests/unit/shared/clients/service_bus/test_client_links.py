"""To which namespace a URL leads."""

from __future__ import annotations

import pytest

from shared.clients.service_bus.client import connect
from shared.domain.errors import InvalidInput
from shared.services import build_event_bus

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


LOCAL = "Endpoint=sb://127.0.0.1:5672;SharedAccessKeyName=a;SharedAccessKey=s3cret;UseDevelopmentEmulator=true"


@pytest.mark.parametrize(
    ("url", "namespace"),
    [
        ("sb://contoso.servicebus.windows.net", "contoso.servicebus.windows.net"),
        ("sb://contoso.servicebus.windows.net/", "contoso.servicebus.windows.net"),
        (LOCAL, "127.0.0.1:5672"),
        (LOCAL.replace("127.0.0.1", "localhost") + ";", "localhost:5672"),
    ],
)
def test_a_namespace_or_an_emulator_on_this_machine(url: str, namespace: str) -> None:
    assert connect(url, None).fully_qualified_namespace == namespace


@pytest.mark.parametrize(
    "url",
    [
        LOCAL.replace("127.0.0.1", "10.0.0.1"),
        LOCAL.replace("127.0.0.1", "contoso.servicebus.windows.net"),
        LOCAL.replace("=true", "=True"),
        LOCAL.removesuffix(";UseDevelopmentEmulator=true"),
        LOCAL + ";endpoint=sb://contoso.servicebus.windows.net",
        LOCAL + ";HostName=contoso.servicebus.windows.net",
        LOCAL + ";Endpoint=sb://contoso.servicebus.windows.net",
        "sb://contoso.servicebus.windows.net:5671",
        "sb://key:s3cret@contoso.servicebus.windows.net",
        "sb://contoso.servicebus.windows.net/orders",
        "sb:contoso",
    ],
)
def test_a_key_is_taken_for_nothing_else_and_never_quoted(url: str) -> None:
    with pytest.raises(InvalidInput, match="bad_bus_url") as caught:
        build_event_bus(url)
    assert caught.value.problem.param == "EVENT_BUS_URL"
    assert "s3cret" not in str(caught.value)
