"""Fixtures of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from tests.unit.shared.support import ROW

if TYPE_CHECKING:  # more than a second, in each worker that collects this file
    from openai import OpenAI


@pytest.fixture
def ai(client: TestClient) -> OpenAI:
    from openai import OpenAI

    return OpenAI(api_key="a token", base_url="http://127.0.0.1/v1", http_client=client, max_retries=0)


@pytest.fixture
def training(ai: OpenAI) -> str:
    return ai.files.create(file=("train.jsonl", ROW * 3), purpose="fine-tune").id
