"""`/api/base-models`: what may be tuned, and the import of a model before its first run."""

from typing import Any

from fastapi import APIRouter

from functions.http.auth import Access, Administrator, CurrentServices, Operator, Reader
from functions.http.errors import ApiError, existing
from shared.api.models import BaseModelDetail, BaseModelList, BaseModelSummary, ImportStarted, LastImport
from shared.base_models.bundles import bundle_manifest
from shared.base_models.import_job import import_problem, last_import, start_import
from shared.domain.catalog import CATALOG, BaseModelEntry, LicenseAnswer, LicenseDecision, check_license
from shared.domain.errors import FailureClass, PermanentFailure, Problem
from shared.ports import Services
from shared.records import policies
from shared.step_support.policy import review_problem, terms_sha256

router = APIRouter(prefix="/api/base-models", tags=["base models"])


@router.get("")
def list_base_models(access: Reader, services: CurrentServices) -> BaseModelList:
    """In the catalog's order, the tenant's own last."""
    entries = (*CATALOG.values(), *access.policy.base_models)
    return BaseModelList(data=tuple(BaseModelSummary(**_summary(entry, services)) for entry in entries))


@router.get("/{base_model:path}")
def get_base_model(base_model: str, access: Reader, services: CurrentServices) -> BaseModelDetail:
    """With the newest import job, why it failed if it did, and what was decided about the license."""
    entry, newest = _entry(base_model, access), None
    if job := last_import(entry, services.launcher):
        problem = import_problem(entry, job, services.blobs)
        newest = LastImport(job=job.name, status=job.status, studio_url=job.studio_url, problem=problem)
    return BaseModelDetail(
        **_summary(entry, services),
        last_import=newest,
        terms_sha256=terms_sha256(entry, services.blobs),
        decisions=policies.license_decisions(services.store, entry.id),
        review_problem=_denied(entry) or review_problem(entry, access.policy, services),
    )


@router.post("/{base_model:path}/import", status_code=202)
def import_base_model(base_model: str, access: Operator, services: CurrentServices) -> ImportStarted:
    """Start the job that checks the model and exports its tokenizer. Asked again while it runs, it is one job."""
    access.require(None)
    entry = _entry(base_model, access)
    try:
        job = start_import(entry, services)
    except PermanentFailure as error:
        if error.failure_class is FailureClass.LICENSE:
            raise ApiError(409, error.problem.code, error.problem.message, base_model) from error
        raise
    return ImportStarted(id=entry.id, job=job.name)


@router.post("/{base_model:path}/license")
def decide_license(
    base_model: str, answer: LicenseAnswer, access: Administrator, services: CurrentServices
) -> LicenseDecision:
    """Accept or refuse the license of a base model, for the whole deployment. Runs under way are held to it in their
    next step. 409 if it is another than the one that was read."""
    entry, caller = _entry(base_model, access), access.caller
    if denied := _denied(entry):
        raise ApiError(409, denied.code, denied.message, denied.param)
    if answer.terms_sha256 != terms_sha256(entry, services.blobs):
        raise ApiError(409, "license_changed", "it is not what you have read: read it again", "terms_sha256")
    by = {"base_model": entry.id, "by": caller.name, "by_id": caller.id, "at": services.clock.now()}
    decision = LicenseDecision(**by, **answer.model_dump())
    policies.decide_license(services.store, decision)
    return decision


def _denied(entry: BaseModelEntry) -> Problem | None:
    """That no use and no person makes it one to tune."""
    return next(check_license(entry.id, "any", ()), None)


def _entry(base_model: str, access: Access) -> BaseModelEntry:
    entry = CATALOG.get(base_model) or access.policy.own_base(base_model)
    return existing(entry, "unknown_base_model", f"{base_model} is not in the catalog", "base_model")


def _summary(entry: BaseModelEntry, services: Services) -> dict[str, Any]:
    manifest = bundle_manifest(entry, services.blobs)
    return {
        "id": entry.id,
        "terms": entry.terms,
        "asset": entry.asset,
        "tokenizer_sha256": manifest.sha256 if manifest else None,
    }
