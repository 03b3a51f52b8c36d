"""Questions to deployed models: the part of the port ModelHost that asks an endpoint itself."""

import time

import httpx

from shared.clients.azure_ml.session import Session, there
from shared.clients.azure_ml.wire import chat_text
from shared.domain.errors import Transient
from shared.domain.jobs import DEPLOYMENT_HEADER, SCORING_SCOPE, ChatAnswer, answer_timeout_s, chat_url
from shared.domain.prompts import Prompt


class Chat:
    """Asks endpoints, and remembers where each answers."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._scoring_uris: dict[str, str] = {}

    def chat(
        self,
        endpoint: str,
        prompt: Prompt,
        *,
        deployment: str | None = None,
        max_tokens: int = 256,
        timeout_s: float | None = None,
    ) -> ChatAnswer:
        """See ModelHost. No `model` in the body: the server has one, and is served under its own name."""
        headers = {"Authorization": f"Bearer {self.session.token(SCORING_SCOPE)}"}
        if deployment is not None:
            headers[DEPLOYMENT_HEADER] = deployment
        body = {**prompt.body(), "temperature": 0, "max_tokens": max_tokens}
        url = self.session.workspace.reachable(chat_url(self._scoring_uri(endpoint)))
        started = time.monotonic()
        try:
            answer = self.session.http.post(
                url, json=body, headers=headers, timeout=timeout_s or answer_timeout_s(max_tokens)
            )
        except httpx.HTTPError as error:
            raise Transient("endpoint_unreachable", f"{endpoint}: {type(error).__name__}") from error
        text, prompt_tokens = chat_text(endpoint, answer)
        return ChatAnswer(
            text=text,
            deployment=answer.headers.get(DEPLOYMENT_HEADER) or deployment,
            latency_s=time.monotonic() - started,
            prompt_tokens=prompt_tokens,
        )

    def _scoring_uri(self, endpoint: str) -> str:
        """Asked for once: it is made of the endpoint's name and the region."""
        if endpoint not in self._scoring_uris:
            known = self.session.call("GET", f"onlineEndpoints/{endpoint}")
            uri = there(known, f"endpoint {endpoint}")["properties"].get("scoringUri") or None
            self._scoring_uris[endpoint] = there(uri, f"the address of endpoint {endpoint}")
        return self._scoring_uris[endpoint]
