"""Fixtures of this package."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from openai import OpenAI

from tests.unit.shared.support import ROW


@pytest.fixture
def ai(client: TestClient) -> OpenAI:
    return OpenAI(api_key="a token", base_url="http://127.0.0.1/v1", http_client=client, max_retries=0)


@pytest.fixture
def training(ai: OpenAI) -> str:
    return ai.files.create(file=("train.jsonl", ROW * 3), purpose="fine-tune").id
