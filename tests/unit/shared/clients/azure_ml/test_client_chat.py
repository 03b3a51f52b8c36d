"""Chat requests to an endpoint of the emulator."""

from __future__ import annotations

from types import SimpleNamespace

import httpx
import pytest

from shared.clients.azure_ml.client import AzureMLClient
from shared.clients.azure_ml.wire import chat_text
from shared.domain.errors import PermanentFailure, Transient
from shared.domain.jobs import answer_timeout_s
from tests.unit.local_stack.azure_ml.deployed import HELLO, created, endpoint_with
from tests.unit.local_stack.azure_ml.support import Local


def test_a_chat_is_greedy_and_names_no_model(local: Local) -> None:
    name = endpoint_with(local, "greedy", "blue")
    headers = {**local.token, "azureml-model-deployment": "blue"}
    answer_of_blue = local.client.chat(name, HELLO, deployment="blue", max_tokens=7)
    assert answer_of_blue.text == "champion: hello"
    answer = httpx.post(f"{local.url}/endpoints/greedy/v1/chat/completions", json=HELLO.body(), headers=headers)
    assert answer.json()["asked"] == HELLO.body()
    assert answer.headers["azureml-model-deployment"] == "blue"


def test_an_error_of_the_container_is_424_and_worth_a_retry(local: Local) -> None:
    name = endpoint_with(local, "sick")
    created(local, name, "blue", environment_variables={"ANSWER_STATUS": "500"})
    with pytest.raises(Transient) as failed:
        local.client.chat(name, HELLO, deployment="blue")
    assert failed.value.problem.message == "sick answered 424 (container: 500)"


@pytest.mark.parametrize("status", [408, 429, 503])
def test_a_container_that_is_busy_is_worth_a_retry(status: int) -> None:
    with pytest.raises(Transient):
        chat_text("sick", container_answer(status))


@pytest.mark.parametrize("status", [400, 401, 404, 422])
@pytest.mark.parametrize("body", ['{"error": {"message": "long"}}', "no JSON"])
def test_what_the_container_refuses_is_final_and_keeps_its_words(status: int, body: str) -> None:
    with pytest.raises(PermanentFailure) as failed:
        chat_text("sick", container_answer(status, body))
    assert failed.value.problem.message == f"the container of sick answered {status}: {body}"


def container_answer(status: int, body: str = "") -> httpx.Response:
    return httpx.Response(424, headers={"ms-azureml-model-error-statuscode": str(status)}, text=body)


@pytest.mark.parametrize(("tokens", "seconds"), [(1, 30), (256, 30), (1000, 60), (4096, 180), (8192, 180)])
def test_the_time_for_an_answer_follows_its_length_up_to_the_limit_of_an_endpoint(tokens: int, seconds: float) -> None:
    assert answer_timeout_s(tokens) == seconds
    timeouts = []

    def post(request: httpx.Request) -> httpx.Response:
        timeouts.append(request.extensions["timeout"]["read"])
        return httpx.Response(200, json={"choices": [{"message": {"content": "yes"}}]})

    session = SimpleNamespace(
        token=lambda scope: "t",
        http=httpx.Client(transport=httpx.MockTransport(post)),
        workspace=SimpleNamespace(reachable=lambda url: url),
    )
    chat = AzureMLClient("azureml+http://127.0.0.1:1/subscriptions/S/resourceGroups/R/workspaces/W")
    chat.session = session  # type: ignore[assignment]
    chat._scoring_uris["e"] = "http://127.0.0.1:1/"
    chat.chat("e", HELLO, max_tokens=tokens)
    assert timeouts == [seconds]


def test_a_chat_that_takes_too_long_is_worth_a_retry(local: Local) -> None:
    name = endpoint_with(local, "slow")
    created(local, name, "blue", environment_variables={"ANSWER_AFTER_S": "1"})
    with pytest.raises(Transient) as failed:
        local.client.chat(name, HELLO, deployment="blue", timeout_s=0.2)
    assert failed.value.problem.code == "endpoint_unreachable"
