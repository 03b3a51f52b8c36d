"""`/api/base-models`: what may be tuned, and the import of a model before its first run."""

from typing import Any

from fastapi import APIRouter

from functions.http.auth import Operator, Reader
from functions.http.dependencies import CurrentServices
from functions.http.errors import ApiError, existing
from shared.api.models import BaseModelDetail, BaseModelList, BaseModelSummary, ImportStarted, LastImport
from shared.base_models.bundles import bundle_manifest
from shared.base_models.import_job import import_problem, last_import, start_import
from shared.domain.catalog import CATALOG, BaseModelEntry
from shared.domain.errors import FailureClass, PermanentFailure
from shared.ports import Services

router = APIRouter(prefix="/api/base-models", tags=["base models"])


@router.get("")
def list_base_models(_: Reader, services: CurrentServices) -> BaseModelList:
    """In the catalog's order."""
    return BaseModelList(data=tuple(BaseModelSummary(**_summary(entry, services)) for entry in CATALOG.values()))


@router.get("/{base_model:path}")
def get_base_model(base_model: str, _: Reader, services: CurrentServices) -> BaseModelDetail:
    """With the newest import job, and why it failed if it did."""
    entry = _entry(base_model)
    job = last_import(entry, services.launcher)
    if job is None:
        return BaseModelDetail(**_summary(entry, services))
    problem = import_problem(entry, job, services.blobs)
    newest = LastImport(job=job.name, status=job.status, studio_url=job.studio_url, problem=problem)
    return BaseModelDetail(**_summary(entry, services), last_import=newest)


@router.post("/{base_model:path}/import", status_code=202)
def import_base_model(base_model: str, access: Operator, services: CurrentServices) -> ImportStarted:
    """Start the job that checks the model and exports its tokenizer. Asked again while it runs, it is one job."""
    access.require(None)
    entry = _entry(base_model)
    try:
        job = start_import(entry, services)
    except PermanentFailure as error:
        if error.failure_class is FailureClass.LICENSE:
            raise ApiError(409, error.problem.code, error.problem.message, base_model) from error
        raise
    return ImportStarted(id=entry.id, job=job.name)


def _entry(base_model: str) -> BaseModelEntry:
    return existing(CATALOG.get(base_model), "unknown_base_model", f"{base_model} is not in the catalog", "base_model")


def _summary(entry: BaseModelEntry, services: Services) -> dict[str, Any]:
    manifest = bundle_manifest(entry, services.blobs)
    return {
        "id": entry.id,
        "license": entry.terms.id,
        "license_policy": entry.terms.policy,
        "obligations": entry.terms.obligations,
        "asset": entry.asset,
        "tokenizer_sha256": manifest.sha256 if manifest else None,
    }
