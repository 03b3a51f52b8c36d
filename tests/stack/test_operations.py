"""What the whole life of models asks of Azure, on emulators of all its services: `infra/operations.json`.

`python -m tests.gate` holds it to the roles in `infra/`. The jobs train nothing (`stub_jobs`). `UPDATE_GOLDEN=1` writes
the file anew.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_stack import emulators, stack
from shared.clients.blob import AzureBlobStore
from shared.clients.service_bus.client import ServiceBusEventBus
from shared.pipeline import TOPOLOGY
from shared.ports import Message
from tests.paths import ROOT
from tests.stack import recording_host, stub_image
from tests.stack.local import LocalStack, merged, rows, until
from tests.stack.recording_host import BLOBS, SDK_THREAD, of_azure_ml
from tests.stack.scenarios import QUICK, drop, ended, job_runs, seen

pytestmark = [pytest.mark.slow, pytest.mark.stack, pytest.mark.timeout(1200)]

FILE = ROOT / "infra" / "operations.json"
IDENTITIES = {
    "11111111-1111-1111-1111-111111111111": "job",
    "22222222-2222-2222-2222-222222222222": "importer",
}
SERVE = "/subscriptions/local/resourceGroups/local/providers/Microsoft.ManagedIdentity/userAssignedIdentities/serve"
SETTINGS = {
    "JOB_CLIENT_ID": "11111111-1111-1111-1111-111111111111",
    "IMPORT_CLIENT_ID": "22222222-2222-2222-2222-222222222222",
    "ENDPOINT_IDENTITY_ID": SERVE,
    "INLINE_VALIDATION_MAX_BYTES": "100000",
    "JOB_POLL_S": "3",
}
ASKS_A_JUDGE = {
    "evaluation": {
        "graders": [
            *QUICK["evaluation"]["graders"],
            {
                "name": "tone",
                "type": "score_model",
                "endpoint": "alpha",
                "input": [{"role": "user", "content": "{{sample.output_text}}"}],
            },
        ]
    }
}
# Microsoft Learn, "Manage access to Azure Machine Learning workspaces", note 4; role Managed Identity Operator.
ASSIGN = "Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action"
PULL = "Microsoft.ContainerRegistry/registries/pull/read"
_DATASTORE = re.compile(r"azureml://(?:.*/)?datastores/([^/]+)/paths/.*")

Recorded = dict[tuple[str, str, str], str]


class EmulatedStack(LocalStack):
    """On emulators of the stores, with a host that records."""

    def _command(self, action: str, *options: str) -> None:
        super()._command(action, *options, *(("--emulators",) if action == "up" else ()))

    def drop(self, project: str, name: str, text: bytes) -> None:
        with closing(AzureBlobStore(self.stores["BLOB_STORE_URL"])) as blobs:
            blobs.write(f"datasets/{project}/{name}", [text])

    @property
    def stores(self) -> dict[str, str]:
        return stack.Stack.load(self.root).stores

    def send(self, entity: str, message: Message) -> None:
        with closing(ServiceBusEventBus(self.stores["EVENT_BUS_URL"], TOPOLOGY)) as bus:
            bus.send(entity, [message])

    def dead_letter(self, entity: str) -> None:
        """A message given up by a host that no longer runs."""
        with closing(ServiceBusEventBus(self.stores["EVENT_BUS_URL"], TOPOLOGY)) as bus:
            bus.send(entity, [Message(f"dead-{entity}", "", b"no event")])
            for _ in range(TOPOLOGY.max_delivery_count):
                [message] = bus.receive(entity, max_messages=1, wait_s=10)
                bus.abandon(message)

    def upload(self, project: str, name: str, text: bytes) -> None:
        self._http.put(f"{self.url}/api/datasets/{project}/{name}", content=text).raise_for_status()

    def apply_policy(self, **policy: Any) -> None:
        self._http.put(f"{self.url}/api/policy?replacing=0", json=policy).raise_for_status()

    def upload_and_delete_file(self, text: bytes) -> None:
        form: dict[str, Any] = {"files": {"file": ("rows.jsonl", text)}, "data": {"purpose": "fine-tune"}}
        file = self._http.post(f"{self.url}/v1/files", **form).raise_for_status().json()
        self._http.get(f"{self.url}/v1/files/{file['id']}/content").raise_for_status()
        self._http.delete(f"{self.url}/v1/files/{file['id']}").raise_for_status()

    def is_up(self) -> bool:
        with suppress(httpx.HTTPError):
            return self._http.get(f"{self.url}/api/health").is_success
        return False

    def emulated(self, what: str) -> list[Any]:
        return list(self._emulator("GET", f"/_emulator/{what}").json()[what])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    try:
        emulators.install()
    except emulators.NotInstalled as error:
        pytest.skip(str(error))
    root = tmp_path_factory.mktemp("operations") / "stack"
    stub_image.install(root)
    local = EmulatedStack(root, SETTINGS)
    file = root / "operations.jsonl"
    file.touch()
    try:
        local.stop_part("host")
        for queue in TOPOLOGY.queues:
            local.dead_letter(queue)
        local.start_part("host", module=(recording_host.__name__, str(file)))
        until(local.is_up, "the host is back", within_s=60)
        live(local, file)
        yield everything(local, file)
    finally:
        print(stack.tail(root / "logs" / "host.log", 60))
        local.down()


def live(local: EmulatedStack, file: Path) -> None:
    """Every kind of thing that happens to a run, an endpoint and a base model."""
    automatic = {"approval": "automatic", "rollout": [50, 100]}
    at_once: dict[str, Any] = {"approval": "automatic", "rollout": [100], "keep_previous_hours": 0}
    at_once |= {"max_instances": 2, "idle_hours": 0.002}  # it scales, and its requests are looked at
    train, held_out = rows("train.jsonl"), rows("eval.jsonl")[:16]
    local.apply_policy(shared_judges=["alpha"])
    local.drop_project("alpha", train[:64], held_out, **QUICK, deployment=automatic)
    ask_and_repair(local, train[0])
    ended(local, seen(local, "alpha", "received"), "deployed")

    # Azure Monitor knows a minute once it is over: there is always one within this time.
    drop(local, "idle", **{**at_once, "idle_hours": 65 / 3600})
    drop(local, "gamma", "hold training-1")
    drop(local, "broken", "broken")
    local.drop_project("large", train, rows("eval.jsonl"), **QUICK, deployment={"approval": "required"})
    local.drop_project("beta", train[:64], held_out, **merged(QUICK, ASKS_A_JUDGE), deployment=at_once)
    local.upload("alpha", "train.jsonl", b"".join(train[64:128]))
    local.post("/api/base-models/droptune/tiny-llama/import")
    gamma = seen(local, "gamma", "training")
    job_runs(local, gamma, "training-1")
    local.post(f"/api/runs/{gamma['id']}/cancel")
    ended(local, gamma, "cancelled")
    ended(local, seen(local, "broken", "received"), "failed")
    large = seen(local, "large", "awaiting_approval")
    local.post(f"/api/runs/{large['id']}/deny")
    first = local.wait("beta", {"deployed"}, within_s=300)["rollout"]["deployment"]
    local.drop("beta", "train.jsonl", b"".join(train[128:192]))
    local.wait("alpha", {"deployed"}, runs=2, within_s=300)
    accepted = local.post("/api/endpoints/alpha/rollback")
    until(lambda: local.get("/api/endpoints/alpha")["deployment"] == accepted["to"], "it is rolled back", 60)
    until(lambda: first not in local.deployments("beta"), "the previous one is deleted", within_s=300)
    local.delete_endpoint("beta")
    until(lambda: "beta" not in [one["endpoint"] for one in local.get("/api/endpoints")["data"]], "it is deleted", 60)

    local.wait("idle", {"deployed"}, within_s=300)
    until(lambda: local.get("/api/endpoints/idle")["stopped"], "nobody asks it", within_s=400)
    local.inject_fault("no_machine")
    local.post("/api/endpoints/idle/restore")
    until(lambda: "mfeOperationsStatus" in file.read_text(), "why its deployment failed is read", within_s=120)

    for read in ("events", "metrics", "report", "preview", "evaluation", "evaluation/rows"):
        local.get(f"/api/runs/{local.runs('alpha')[0]['id']}/{read}")


def ask_and_repair(local: EmulatedStack, text: bytes) -> None:
    """The doctor, files of OpenAI's API, and messages that nobody can read."""
    checks = local.get("/api/doctor")["data"]
    assert {"run store", "event bus", "blobs"} <= {check["name"] for check in checks if check["status"] == "ok"}
    local.upload_and_delete_file(text)
    local.send("job-events", Message("unreadable", "", b"no event"))
    for entity in TOPOLOGY.queues:
        [dead] = [one for one in local.get("/api/dead-letters")["data"] if one["entity"] == entity]
        assert dead["count"] == 1
        local.replay(entity)
    until(lambda: not local.get("/api/dead-letters")["data"], "dead letters are handled")


def everything(local: EmulatedStack, file: Path) -> Recorded:
    found: Recorded = {}
    for line in file.read_text().splitlines():
        operation, scope, use = json.loads(line)
        _add(found, "control", operation, scope, use)
    for caller, method, path in local.emulated("calls"):
        if caller in IDENTITIES:
            for operation, scope in of_azure_ml(method, path):
                _add(found, IDENTITIES[caller], operation, scope, "training_job.job.identity")
    for request in local.emulated("requests"):
        if request["method"] == "PUT":
            _bodies(found, request["path"], request["body"])
    return found


def _bodies(found: Recorded, path: str, body: dict[str, Any]) -> None:
    """What a job and an endpoint do under the identity that their bodies name: mounts, and the pull of the image."""
    properties = body["properties"]
    if "/jobs/" in path:
        identity, use = IDENTITIES[properties["identity"]["clientId"]], properties["command"].split()[2]
        _add(found, "control", ASSIGN, f"id-{identity}", use)
        _add(found, identity, PULL, "registry", use)
        for verbs, entries in (("read",), properties["inputs"]), (("read", "write", "delete"), properties["outputs"]):
            for entry in entries.values():
                if store := _DATASTORE.fullmatch(entry.get("uri", "")):
                    for verb in verbs:  # mounted for writing, a file is also replaced and deleted
                        _add(found, identity, f"{BLOBS}/blobs/{verb}", f"data/{store[1]}", use)
    elif "/models/" in path:
        store = _DATASTORE.fullmatch(properties["modelUri"])
        assert store is not None
        _add(found, "serve", f"{BLOBS}/blobs/read", f"data/{store[1]}", "a deployment's model")
    elif "/deployments/" in path:
        _add(found, "serve", PULL, "registry", "a deployment's image")
    elif "/onlineEndpoints/" in path and "userAssignedIdentities" in (body.get("identity") or {}):
        _add(found, "control", ASSIGN, "id-serve", "shared.clients.azure_ml.client")


def _add(found: Recorded, identity: str, operation: str, scope: str, use: str) -> None:
    """Of several uses the first by name, threads last: which of them is seen depends on the moment."""
    key = (identity, operation, scope)
    found[key] = min(found.get(key, use), use, key=lambda name: (name == SDK_THREAD, name))


def test_what_is_asked_of_azure_is_on_file(recorded: Recorded) -> None:
    """The file has one place of use of each; which of several is seen may differ from time to time."""
    if os.environ.get("UPDATE_GOLDEN"):
        fields = ("identity", "operation", "scope", "use")
        found = [dict(zip(fields, (*key, use), strict=True)) for key, use in sorted(recorded.items())]
        FILE.write_text("[\n" + ",\n".join(map(json.dumps, found)) + "\n]\n")
    known = {(one["identity"], one["operation"], one["scope"]) for one in json.loads(FILE.read_text())}
    assert sorted(recorded.keys() - known) == []
    assert sorted(known - recorded.keys()) == []
