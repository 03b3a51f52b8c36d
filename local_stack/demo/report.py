"""`report.json` of a demo: what happened, how long it took, and whether it counts as a success."""

import json
import os
import platform
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from cli.view import stage_seconds
from local_stack.demo.prepare import DemoFailed
from shared.domain.prompts import as_dialogue, prompt_of, reference_index
from shared.domain.run import Run, Status
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
    """Ask the first held-out question. Raises DemoFailed if there is no answer, or no chat completion."""
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


def shortfall(run: Run) -> str | None:
    """Why the run is not what the demo promises; None if it is."""
    if run.status != Status.DEPLOYED:
        return f"the run ended as {run.status}, not deployed"
    gains = run.evaluation.gains if run.evaluation else ()
    if not any(gain.over == "base" for gain in gains):
        return "the run was deployed without a measured gain"
    for gain in gains:
        if gain.low <= 0:
            return f"the interval of its gain over {gain.over} [{gain.low:+.3f}, {gain.high:+.3f}] is not above 0"
    return None


def demo_report(
    runs: Sequence[Run], example: EndpointExample | None, seconds: dict[str, float], stores: dict[str, str]
) -> dict[str, Any]:
    """The last run, and `earlier` ones. `seconds`: what came before, and `total`; `stores`: of the stack."""
    *earlier, run = runs
    stages = {line.status: round(spent, 3) for line, spent in stage_seconds(run)[:-1]}
    return {
        "made": {
            "at": run.updated_at.isoformat(timespec="seconds"),
            "command": f"make demo RECIPE={run.project}",
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
            "python": platform.python_version(),
        },
        "passed": example is not None and all(shortfall(each) is None for each in runs),
        **_summary(run),
        "earlier": [_summary(each) for each in earlier],
        "stores": stores,
        "endpoint": asdict(example) if example else None,
        "seconds": {**{name: round(value, 3) for name, value in seconds.items()}, "stages": stages},
    }


def _summary(run: Run) -> dict[str, Any]:
    result = run.evaluation.model_dump(mode="json") if run.evaluation else {}
    scores = {"base": result.get("base"), "champion": result.get("champion"), "tuned": result.get("candidate")}
    return {
        "run": run.id,
        "project": run.project,
        "method": run.recipe.requested.method.type if run.recipe else None,
        "status": run.status,
        "statuses": [{"status": line.status, "at": line.at.isoformat()} for line in run.history],
        "scores": scores,
        "gain": next((gain for gain in result.get("gains", ()) if gain["over"] == "base"), None),
        **{name: result.get(name, []) for name in ("gains", "graders", "slices")},
        "cost": run.cost.model_dump() if run.cost else None,
        "error": run.error.model_dump(mode="json") if run.error else None,
    }


def write_report(file: Path, body: dict[str, Any]) -> None:
    """Write it whole or not at all."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(file)
