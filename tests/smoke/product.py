"""`python -m tests.smoke.product SCORING_URI RUN`: three held-out questions, and the curve of the run's training."""

from __future__ import annotations

import json
import os
import sys

import httpx

from cli.client import Api, find_url
from shared.domain.jobs import chat_url
from shared.domain.urls import is_loopback
from shared.tls import tls_context
from tests.paths import ROOT

ANSWER_WITHIN_S = 60.0


def main(scoring_uri: str, run: str) -> None:
    rows = (ROOT / "recipes" / "manufacturing" / "eval.jsonl").read_text(encoding="utf-8").splitlines()
    right, headers = 0, {"Authorization": f"Bearer {os.environ['SCORING_TOKEN']}"}
    with httpx.Client(verify=tls_context(), timeout=ANSWER_WITHIN_S, trust_env=not is_loopback(scoring_uri)) as http:
        for row in (rows[0], rows[len(rows) // 2], rows[-1]):
            question, reference = json.loads(row)["messages"]
            body = {"messages": [question], "max_tokens": 128, "temperature": 0}
            answer = http.post(chat_url(scoring_uri), json=body, headers=headers).raise_for_status().json()
            text, expected = answer["choices"][0]["message"]["content"], reference["content"]
            right += text == expected
            print(f"{question['content']} -> {text}{'' if text == expected else f', not {expected}'}")
    print(f"{right} of 3 are right")
    with Api(find_url(None)) as api:
        curve = api.metrics(run).series["train_loss"]
    print(f"{len(curve)} points of train_loss, the first {curve[0][1]}, the last {curve[-1][1]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
