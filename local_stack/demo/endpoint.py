"""The endpoint the run promoted: one question of the held-out set over plain HTTP, and the same as `curl`."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from local_stack.demo.prepare import DemoFailed
from shared.domain.prompts import as_dialogue, prompt_of, reference_index
from shared.tls import tls_context

ANSWER_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class EndpointExample:
    """A request to the endpoint and what it answered."""

    url: str
    secret_file: str
    body: dict[str, Any]
    question: str
    reference: str
    answer: str

    def curl(self) -> str:
        """The same request for a shell."""
        body = shlex.quote(json.dumps(self.body, ensure_ascii=False))
        # In Azure: az account get-access-token --resource https://ml.azure.com.
        token = f"$(cat {shlex.quote(self.secret_file)})"
        headers = f"-H \"Authorization: Bearer {token}\" -H 'Content-Type: application/json'"
        return f"curl -s {shlex.quote(self.url)} \\\n  {headers} \\\n  -d {body}"


def ask(scoring_uri: str, held_out: Path, secret_file: Path) -> EndpointExample:
    """Ask the first held-out question; the endpoint passes any path on to the model's server.

    Raises DemoFailed if the endpoint does not answer, or not as a chat completion.
    """
    with held_out.open(encoding="utf-8") as rows:
        dialogue = as_dialogue(json.loads(next(rows)))
    prompt, index = prompt_of(dialogue), reference_index(dialogue)
    reference = "" if index is None else dialogue["messages"][index]["content"]
    url = f"{scoring_uri.rstrip('/').removesuffix('/score')}/v1/chat/completions"
    headers = {"Authorization": f"Bearer {secret_file.read_text()}"}
    body = {**prompt.body(), "max_tokens": 128, "temperature": 0}
    try:
        with httpx.Client(verify=tls_context(), timeout=ANSWER_WITHIN_S, trust_env=False) as client:
            answer = client.post(url, json=body, headers=headers)
        answer.raise_for_status()
        text = str(answer.json()["choices"][0]["message"]["content"])
    except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
        raise DemoFailed(f"the endpoint {url} does not answer as it should: {error!r}") from error
    return EndpointExample(url, str(secret_file), body, prompt.conversation(), reference, text)
