"""Chat requests to an endpoint of the emulator."""

from __future__ import annotations

import httpx
import pytest

from shared.domain.errors import Transient
from tests.unit.local_stack.azure_ml.deployed import HELLO, created, endpoint_with
from tests.unit.local_stack.azure_ml.support import Local


def test_a_chat_is_greedy_and_names_no_model(local: Local) -> None:
    name = endpoint_with(local, "greedy", "blue")
    headers = {**local.token, "azureml-model-deployment": "blue"}
    answer_of_blue = local.client.chat(name, HELLO, deployment="blue", max_tokens=7)
    assert answer_of_blue.text == "champion: hello"
    answer = httpx.post(f"{local.url}/endpoints/greedy/v1/chat/completions", json={"messages": HELLO}, headers=headers)
    assert answer.json()["asked"] == {"messages": HELLO}
    assert answer.headers["azureml-model-deployment"] == "blue"


def test_an_error_of_the_container_is_424_and_worth_a_retry(local: Local) -> None:
    name = endpoint_with(local, "sick")
    created(local, name, "blue", environment_variables={"ANSWER_STATUS": "500"})
    with pytest.raises(Transient) as failed:
        local.client.chat(name, HELLO, deployment="blue")
    assert failed.value.problem.message == "sick answered 424 (container: 500)"


def test_a_chat_that_takes_too_long_is_worth_a_retry(local: Local) -> None:
    name = endpoint_with(local, "slow")
    created(local, name, "blue", environment_variables={"ANSWER_AFTER_S": "1"})
    with pytest.raises(Transient) as failed:
        local.client.chat(name, HELLO, deployment="blue", timeout_s=0.2)
    assert failed.value.problem.code == "endpoint_unreachable"
