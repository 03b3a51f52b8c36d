"""Take over what the validation job found."""

from shared.domain import paths
from shared.domain.dataset import ValidationOutcome
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.events import Event, ValidationCompleted
from shared.domain.run import Run
from shared.ports import Services
from shared.records.blob_documents import read_model
from shared.step_support.dataset_files import replaced
from shared.step_support.outcome import Outcome
from shared.steps.validate_dataset import accepted, refused


def conclude_validation(event: Event[ValidationCompleted], run: Run, services: Services) -> Outcome:
    found = read_model(services.blobs, paths.run(run.id, "validation/outcome.json"), ValidationOutcome)
    if found is None:
        raise PermanentFailure(FailureClass.CODE, "no_outcome", "the validation job wrote no outcome")
    if found.curated is None or found.recipe is None:
        return refused(run, found.recipe, found.report, services)
    if run.beside is not None and found.sha256 != run.pinned_sha256:
        raise replaced(run)
    # The job knows the bytes it read; the run knows where they lay and holds the pinned etag.
    curated = found.curated.model_copy(update={"source": run.dataset})
    return accepted(run, found.recipe, found.report, curated, services)
