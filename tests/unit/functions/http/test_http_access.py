"""Who may do what where: role x route x project x state, for every route that the app has."""

from __future__ import annotations

from itertools import product
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from functions.http.auth import ADMINISTRATOR, APPROVER, OPERATOR, OWNER, READER, Caller
from shared.domain import paths
from shared.domain.policy import PlatformPolicy, Project
from shared.domain.run import Run, Status
from shared.ports import Services
from shared.records import api_objects, policies, subscriptions
from shared.records.api_objects import File, Job
from shared.runner import Runner
from shared.step_support.candidate import candidate_sha256, objection
from tests.paths import ROOT
from tests.subscriptions import subscribe
from tests.unit.functions.http.support import RESOLVED, enter, in_production, routes
from tests.unit.shared.support import RESULT, VERDICT, drop

# What each route needs. `app`: the app role itself, membership of a project is not enough. `open`: everybody.
NEEDS = {
    READER: """
        GET /api/runs | GET /api/runs/{run_id} | GET /api/runs/{run_id}/events | GET /api/runs/{run_id}/metrics
        GET /api/runs/{run_id}/report | GET /api/runs/{run_id}/preview | GET /api/runs/{run_id}/evaluation
        GET /api/runs/{run_id}/evaluation/rows | GET /api/graders/schema | POST /api/graders/validate
        GET /api/recipes/schema | GET /api/endpoints | GET /api/endpoints/{name} | GET /api/base-models
        GET /api/base-models/{base_model} | GET /api/dead-letters | GET /v1/files | GET /v1/files/{file_id}
        GET /v1/files/{file_id}/content | GET /v1/fine_tuning/jobs | GET /v1/fine_tuning/jobs/{job_id}
        GET /v1/fine_tuning/jobs/{job_id}/events | GET /v1/fine_tuning/jobs/{job_id}/checkpoints
        GET /api/policy | GET /api/policy/schema | POST /api/mcp | GET /api/subscriptions
        GET /api/subscriptions/{subscription_id} | GET /api/subscriptions/{subscription_id}/deliveries
    """,
    OPERATOR: """
        POST /api/runs | POST /api/runs/{run_id}/cancel | POST /api/runs/{run_id}/promote
        POST /api/runs/{run_id}/retry | POST /api/graders/run
        PUT /api/datasets/{project}/{name} | POST /api/endpoints/{name}/rollback | POST /api/endpoints/{name}/restore
        DELETE /api/endpoints/{name} | POST /api/base-models/{base_model}/import | POST /api/dead-letters/release
        POST /api/dead-letters/replay | GET /api/doctor | POST /v1/files | DELETE /v1/files/{file_id}
        POST /v1/fine_tuning/jobs | POST /v1/fine_tuning/jobs/{job_id}/cancel
        POST /api/events | OPTIONS /api/events | POST /api/intake-keys/{project}
    """,
    OWNER: """
        POST /api/subscriptions | PATCH /api/subscriptions/{subscription_id}
        DELETE /api/subscriptions/{subscription_id} | POST /api/subscriptions/{subscription_id}/test
        POST /api/subscriptions/{subscription_id}/rotate | POST /api/subscriptions/{subscription_id}/redeliver
    """,
    APPROVER: "POST /api/runs/{run_id}/approve | POST /api/runs/{run_id}/deny",
    ADMINISTRATOR: "PUT /api/policy | POST /api/base-models/{base_model}/license",
    # They tell of the program, not of the deployment, and a browser asks for them before it has a token.
    "open": """
        GET /api/health | GET /api/ready | GET /api/openapi.json | GET /api/docs | GET /api/docs/{name} | GET /
        GET /static/{name} | GET /api/events/asyncapi.json | GET /api/events/schemas/{type}
    """,
    # A key of the project, and no role of anybody: tests/unit/functions/http/test_inbound.py.
    "key": "POST /api/intake/{project} | OPTIONS /api/intake/{project}",
}
ROLE_OF = {
    " ".join(route.split()): role
    for role, lines in NEEDS.items()
    for line in lines.strip().splitlines()
    for route in line.split("|")
}
APP_ONLY = {"POST /api/base-models/{base_model}/import", "GET /api/doctor"}
ROLES = (READER, OPERATOR, APPROVER, ADMINISTRATOR)
MEMBERS = ("readers", "operators", "approvers", "owners")
MAY = {"readers": {READER}, "operators": {READER, OPERATOR}, "approvers": {READER, APPROVER}}
MAY["owners"] = {READER, OPERATOR, APPROVER, OWNER}
JOB: dict[str, Any] = {
    "model": "droptune/tiny-llama",
    "training_file": "file-0",
    "validation_file": None,
    "method": {"type": "supervised", "supervised": {"hyperparameters": {}}},
    "seed": 1,
    "metadata": None,
}
SUBSCRIPTION = "ops-0123abcd"
STATES = (Status.RECEIVED, Status.AWAITING_APPROVAL, Status.FAILED, Status.DEPLOYED)


@pytest.fixture
def shop(services: Services, request: pytest.FixtureRequest) -> Run:
    run = drop(services, Runner(services), requested_by="somebody")
    assert run is not None
    state = getattr(request, "param", Status.AWAITING_APPROVAL)
    if state is not Status.RECEIVED:
        run = enter(services, run, state, recipe=RESOLVED, evaluation=RESULT, verdict=VERDICT)
    return run


def as_caller(client: TestClient, id: str, *roles: str) -> None:
    app = cast(FastAPI, client.app)
    app.state.authenticator = lambda: lambda request: Caller(id, frozenset(roles), id=id)


def ask(client: TestClient, route: str, run: Run) -> tuple[int, str]:
    """Status and code of the answer to a request that is right but for who sends it."""
    answer = answer_to(client, route, run.id, run.project)
    error = answer.json().get("error") if answer.content[:1] == b"{" else None
    return answer.status_code, error["code"] if error else ""


def answer_to(client: TestClient, route: str, run_id: str, project: str) -> Any:
    method, path = route.split(" ")
    names = {
        "subscription_id": SUBSCRIPTION,
        "run_id": run_id,
        "job_id": run_id,
        "name": project,
        "project": project,
        "file_id": "file-0",
    }
    if path.startswith("/api/datasets"):
        names["name"] = "eval.jsonl"
    url = path.format(**names, base_model="no/such", type="droptune.run.failed.v1")
    bodies: dict[str, Any] = {
        "POST /api/runs": {"dataset": f"{project}/train.jsonl"},
        "POST /api/graders/validate": {"graders": []},
        "POST /api/graders/run": {"graders": [], "output": "a"},
        "POST /api/dead-letters/release": {"partition": run_id, "id": "run"},
        "POST /api/dead-letters/replay": {"entity": "pipeline/notify"},
        "POST /v1/fine_tuning/jobs": {"model": "droptune/tiny-llama", "training_file": "file-0", "suffix": "shop"},
        "PUT /api/policy": {},
        "POST /api/events": [],
        "POST /api/subscriptions": {
            "name": "new",
            "project": project,
            "target": {"type": "webhook", "url": "https://10.0.0.4/"},
        },
        "PATCH /api/subscriptions/{subscription_id}": {},
        "POST /api/subscriptions/{subscription_id}/redeliver": None,
        "POST /api/base-models/{base_model}/license": {"accepted": True, "terms_sha256": "0" * 64, "comment": "a"},
    }
    url += "?replacing=9" if route == "PUT /api/policy" else "?event=none" if route.endswith("/redeliver") else ""
    return client.request(method, url, json=bodies.get(route))


def is_refused(answer: tuple[int, str]) -> bool:
    return answer[0] == 403 and answer[1] == "role_needed"


def test_every_route_of_the_app_is_declared(client: TestClient) -> None:
    assert sorted(ROLE_OF) == sorted(routes(cast(FastAPI, client.app), all=True))


@pytest.mark.parametrize("shop", STATES, indirect=True, ids=str)
def test_without_a_policy_each_route_takes_the_app_role_that_is_declared(
    client: TestClient, services: Services, shop: Run
) -> None:
    requests = 0
    for route, role in product(ROLE_OF, (*ROLES, "")):
        as_caller(client, "object-1", *([role] if role else []))
        needed = ROLE_OF[route]
        allowed = needed in ("open", "key", role) or (role == ADMINISTRATOR and needed != APPROVER)
        assert is_refused(ask(client, route, shop)) is not allowed, (route, role)
        requests += 1
    assert requests == len(ROLE_OF) * 5


# Under a policy with the projects shop and bank: who has which roles in shop, and in the app or elsewhere.
CALLERS: dict[str, tuple[set[str], set[str]]] = {
    **{f"of-{one}": (MAY[one], set()) for one in MEMBERS},
    "of-both": ({READER}, {READER, OPERATOR, APPROVER, OWNER}),  # a reader of shop who owns bank
    "of-bank": (set(), {READER, OPERATOR, APPROVER, OWNER}),
    "object-1": (set(), {READER, OPERATOR, APPROVER}),  # by app roles
    "root": ({READER, OPERATOR, ADMINISTRATOR, OWNER}, {READER, OPERATOR, ADMINISTRATOR, OWNER}),
}
BY_APP_ROLE = {"object-1": (READER, OPERATOR, APPROVER), "root": (ADMINISTRATOR,)}
UPLOADER = "of-owners"
# What is of shop in a request, and the code for whom it is not there; empty: its name is no secret.
OF_SHOP = {
    "{run_id}": "run_not_found",
    "{job_id}": "job_not_found",
    "/endpoints/{name}": "endpoint_not_found",
    "POST /api/runs": "dataset_not_found",
    "/dead-letters/release": "document_not_found",
    "/datasets/{project}": "",
    "/intake-keys/{project}": "",
    "{subscription_id}": "subscription_not_found",
    "POST /api/subscriptions": "",
    "POST /v1/fine_tuning/jobs": "",
}
LISTS = ("/api/subscriptions", "/api/runs", "/api/endpoints", "/v1/fine_tuning/jobs", "/v1/files", "/api/policy")


def expected(route: str, caller: str) -> str:
    """`passes`, `refused` (403), or the code of a 404."""
    needed, (own, elsewhere) = ROLE_OF[route], CALLERS[caller]
    if needed in ("open", "key"):
        return "passes"
    if needed not in own | elsewhere or (route in APP_ONLY and caller not in BY_APP_ROLE):
        return "refused"
    if "{file_id}" in route:
        return "passes" if caller in (UPLOADER, "root") else "file_not_found"
    code = next((code for part, code in OF_SHOP.items() if part in route), None)
    if code is None or needed in own:
        return "passes"
    return code if code and not own else "refused"


@pytest.mark.parametrize("shop", STATES, indirect=True, ids=str)
def test_of_a_project_of_the_policy_members_alone_see_anything(
    client: TestClient, services: Services, shop: Run
) -> None:
    """Each route with ids that are there. The app roles, all three of them, open nothing of it; nor does membership of
    another project."""
    projects = {
        "shop": Project.model_validate(
            {one: [f"of-{one}"] for one in MEMBERS} | {"readers": ["of-readers", "of-both"]}
        ),
        "bank": Project(owners=("of-bank", "of-both")),
    }
    policies.apply(services.store, PlatformPolicy(projects=projects), 0, "root", "root", services.clock.now())
    record, now = in_production(services), services.clock.now()
    api_objects.create(services.store, Job(id=shop.id, created_at=now, project="shop", **JOB), now)
    requests, of_shop = 0, (shop.id, record.champion, "file-0", "of-approvers", SUBSCRIPTION)
    for route, caller in product(ROLE_OF, CALLERS):
        if subscriptions.by_id(services.store, SUBSCRIPTION) is None:
            subscribe(services.store, "https://10.0.0.4/", project="shop")
        if api_objects.load(services.store, File, "file-0") is None:
            file = File(id="file-0", bytes=2, created_at=0, filename="a.jsonl", uploaded_by=UPLOADER)
            api_objects.create(services.store, file, now)
            services.blobs.write(f"{paths.DATASETS}/_files/file-0", [b"{}"])
        as_caller(client, caller, *BY_APP_ROLE.get(caller, ()))
        answer = answer_to(client, route, shop.id, "shop")
        error = answer.json().get("error") if answer.content[:1] == b"{" else None
        status, code = answer.status_code, error["code"] if error else ""
        hidden = code in (*OF_SHOP.values(), "file_not_found") and status == 404
        found = "refused" if is_refused((status, code)) else code if hidden else "passes"
        if (route, found) != ("POST /v1/fine_tuning/jobs", "file_not_found"):  # of members who have not uploaded it
            assert found == expected(route, caller), (route, caller, status, code)
        named = {one for one in of_shop if one in answer.text and "{" not in route and "release" not in route}
        if not CALLERS[caller][0]:
            assert not named, (route, caller)
        elif route in [f"GET {one}" for one in LISTS]:
            assert bool(named) is (route != "GET /v1/files" or caller in (UPLOADER, "root")), (route, caller)
        requests += 1
    assert requests == len(ROLE_OF) * len(CALLERS)


def test_the_threat_model_says_how_many_requests_that_are() -> None:
    under_policy, without = len(ROLE_OF) * len(CALLERS) * len(STATES), len(ROLE_OF) * (len(ROLES) + 1) * len(STATES)
    count = f"{under_policy + without:,} requests: each of {len(ROLE_OF)} routes, of a run in {len(STATES)} states, by "
    count += f"{len(CALLERS)} callers under a policy and by {len(ROLES) + 1} without one"
    print(count)
    assert count in " ".join((ROOT / "docs/explanation/threat-model.md").read_text().split())


@pytest.mark.parametrize("shop", STATES, indirect=True, ids=str)
@pytest.mark.parametrize("registered", [True, False], ids=["in the policy", "not in the policy"])
def test_what_a_caller_may_not_see_is_answered_as_what_is_not_there(
    client: TestClient, services: Services, shop: Run, registered: bool
) -> None:
    """Run, job, endpoint and dropped file; the words too, but for what was asked for."""
    in_production(services)
    store, job = services.store, Job(**JOB, id=shop.id, project="shop", created_at=shop.created_at)
    api_objects.create(store, job, shop.created_at, ())
    projects = {"bank": Project(owners=("bank",))} | ({"shop": Project(owners=("ada",))} if registered else {})
    policies.apply(store, PlatformPolicy(projects=projects), 0, "root", "root", services.clock.now())
    named = ("{run_id}", "{job_id}", "/endpoints/{name}", "POST /api/runs")
    routes_of_things = [route for route in ROLE_OF if any(one in route for one in named)]
    outsiders = [("bank",)] + ([("object-1", READER, OPERATOR, APPROVER)] if registered else [])
    for route, outsider in product(routes_of_things, outsiders):
        as_caller(client, *outsider)
        there, nowhere = (answer_to(client, route, *one) for one in ((shop.id, "shop"), ("run-0", "nosuch")))
        shown = there.text.replace(shop.id, "run-0").replace("shop", "nosuch")
        assert (there.status_code, shown) == (404, nowhere.text), (route, outsider)
        assert nowhere.status_code == 404
    assert len(routes_of_things) == 21


def test_lists_endpoints_files_jobs_and_dead_letters_of_a_project_are_its_members_only(
    client: TestClient, services: Services
) -> None:
    record = in_production(services)
    policies.apply(
        services.store,
        PlatformPolicy(projects={"shop": Project(owners=("ada",)), "bank": Project(owners=("bob",))}),
        0,
        "root",
        "root",
        services.clock.now(),
    )
    run = Runner(services).load(record.champion)
    assert run is not None

    def seen() -> dict[str, Any]:
        return {
            "runs": len(client.get("/api/runs").json()["data"]),
            "endpoints": len(client.get("/api/endpoints").json()["data"]),
            "letters": client.get("/api/dead-letters").status_code,
            "projects": sorted(client.get("/api/policy").json()["policy"]["projects"]),
            "endpoint": client.get("/api/endpoints/shop").status_code,
            "events": client.get(f"/api/runs/{run.id}/events").status_code,
        }

    nothing = {"runs": 0, "endpoints": 0, "endpoint": 404, "events": 404}
    as_caller(client, "bob")
    assert seen() == {**nothing, "letters": 200, "projects": ["bank"]}
    as_caller(client, "object-1", READER, OPERATOR, APPROVER)
    assert seen() == {**nothing, "letters": 200, "projects": []}
    everything = {"runs": 1, "endpoints": 1, "endpoint": 200, "events": 200}
    as_caller(client, "ada")
    assert seen() == {**everything, "letters": 200, "projects": ["shop"]}
    as_caller(client, "root", ADMINISTRATOR)
    assert seen() == {**everything, "letters": 200, "projects": ["bank", "shop"]}

    as_caller(client, "bob")
    assert client.post("/api/endpoints/shop/rollback").status_code == 404
    assert client.delete("/api/endpoints/shop").status_code == 404
    assert client.put("/api/datasets/shop/recipe.yaml", content=b"x").json()["error"]["code"] == "role_needed"
    assert client.post("/api/runs", json={"dataset": "shop/train.jsonl"}).status_code == 404


def test_an_uploaded_file_is_its_uploaders(client: TestClient) -> None:
    as_caller(client, "ada", OPERATOR, READER)
    upload = {"file": ("train.jsonl", b"{}")}
    file_id = client.post("/v1/files", files=upload, data={"purpose": "fine-tune"}).json()["id"]
    as_caller(client, "bob", OPERATOR, READER)
    assert client.get("/v1/files").json()["data"] == []
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert client.request(method, f"/v1/files/{file_id}{path}").status_code == 404
    job = {"model": "droptune/tiny-llama", "training_file": file_id, "suffix": "shop"}
    assert client.post("/v1/fine_tuning/jobs", json=job).json()["error"]["code"] == "file_not_found"
    as_caller(client, "ada", OPERATOR, READER)
    assert client.delete(f"/v1/files/{file_id}").status_code == 200


def test_who_uploads_over_the_api_is_who_asked(client: TestClient, services: Services) -> None:
    as_caller(client, "ada", OPERATOR)
    assert client.put("/api/datasets/shop/train.jsonl", content=b"{}").status_code == 201
    run = drop(services, Runner(services), text=None)  # Event Grid's event, which names nobody
    assert run is not None
    assert (run.requested_by, run.requester_id, run.uploader_ids) == ("ada", "ada", ("ada",))
    other = drop(services, Runner(services), text=b"[]")
    assert other is not None
    assert (other.requester_id, other.uploader_ids) == (None, None), "content that did not come over the API"


@pytest.mark.parametrize("name", ["recipe.yaml", "eval.jsonl"])
def test_a_recipe_or_held_out_rows_of_another_person_or_of_nobody_known_count_too(
    client: TestClient, services: Services, name: str
) -> None:
    as_caller(client, "ada", OPERATOR)
    assert client.put("/api/datasets/shop/train.jsonl", content=b"{}").status_code == 201
    as_caller(client, "bob", OPERATOR)
    assert client.put(f"/api/datasets/shop/{name}", content=b"a").status_code == 201
    run = drop(services, Runner(services), text=None)
    assert run is not None
    assert run.uploader_ids == ("ada", "bob")
    services.blobs.write(f"{paths.DATASETS}/shop/{name}", [b"b"])
    other = drop(services, Runner(services), text=None)
    assert other is not None
    assert (other.requester_id, other.uploader_ids) == ("ada", None)
    # In the storage somebody wrote the training rows again: of the recipe or the held-out rows it is still known.
    as_caller(client, "bob", OPERATOR)
    assert client.put(f"/api/datasets/shop/{name}", content=b"c").status_code == 201
    third = drop(services, Runner(services), text=b"[]")
    assert third is not None
    assert (third.requester_id, third.uploader_ids, third.known_uploader_ids) == (None, None, ("bob",))
    problem = objection(third, "bob", candidate_sha256(third), PlatformPolicy())
    assert problem is not None
    assert problem.code == "self_approval"
