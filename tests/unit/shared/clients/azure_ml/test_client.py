"""The identities that a client gives its jobs and endpoints."""

from __future__ import annotations

from shared.base_models.import_job import import_job
from shared.domain.catalog import find_entry
from shared.steps.submit_training import training_job
from tests.unit.local_stack.azure_ml.golden import check_golden, wire_body_of
from tests.unit.local_stack.azure_ml.support import Local
from tests.unit.shared.clients.azure_ml.runs import CONFIG, run_of


def test_a_user_assigned_identity_goes_into_the_job(local: Local) -> None:
    client = local.another_client(job_client_id="11111111-2222-3333-4444-555555555555")
    local_with_identity = Local(local.emulator, client, local.blobs)
    spec = training_job(run_of("phi-4"), CONFIG).model_copy(update={"name": "with-identity-training-1"})
    body = wire_body_of(local_with_identity, spec)["body"]
    assert body["properties"]["identity"] == {
        "identityType": "Managed",
        "clientId": "11111111-2222-3333-4444-555555555555",
    }
    client.close()


def test_an_endpoint_of_a_private_workspace_is_closed_and_has_its_own_identity(local: Local) -> None:
    identity = "/subscriptions/s/resourceGroups/r/providers/Microsoft.ManagedIdentity/userAssignedIdentities/serve"
    client = local.another_client(endpoint_identity_id=identity, endpoint_is_public=False)
    body = wire_body_of(Local(local.emulator, client, local.blobs), "behind-a-door")["body"]
    assert body["properties"]["publicNetworkAccess"] == "Disabled"
    assert body["identity"] == {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}}
    client.close()


def test_the_job_that_imports_a_base_model_is_the_one_on_file_and_has_an_identity_of_its_own(local: Local) -> None:
    runs, imports = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"
    client = local.another_client(job_client_id=runs, import_client_id=imports)
    spec = import_job(find_entry("microsoft/Phi-4"), 1, CONFIG)
    body = wire_body_of(Local(local.emulator, client, local.blobs), spec)
    assert body["body"]["properties"]["identity"]["clientId"] == imports
    check_golden("import-phi-4", body)
    client.close()
