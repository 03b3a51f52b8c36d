"""Where things lie in the four containers, as blob paths and as the URIs jobs use for the same places."""

import hashlib

from shared.domain.dataset import CuratedVersion
from shared.domain.jobs import JobKind
from shared.domain.run import Run

DATASETS, CURATED, RUNS, MODELS = "datasets", "curated", "runs", "models"
JOBS = "_jobs"  # folder of a project that the app alone writes, for jobs of OpenAI's client


def file_name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def curated(version: CuratedVersion, name: str = "") -> str:
    return f"{CURATED}/{version.project}/{version.version}/{name}".removesuffix("/")


def answers(project: str) -> str:
    """What models said to the project's held-out rows, kept by content from one evaluation to the next."""
    return f"{CURATED}/{project}/answers"


def run(run_id: str, name: str = "") -> str:
    return f"{RUNS}/{run_id}/{name}".removesuffix("/")


def judges(run_id: str, job: str) -> str:
    """Where one job finds the judges of its graders."""
    return run(run_id, f"judges/{job}.json")


def datastore_uri(path: str) -> str:
    """Each container is an Azure ML datastore of the same name."""
    container, _, rest = path.partition("/")
    return f"azureml://datastores/{container}/paths/{rest}"


def job_name(state: Run, kind: JobKind) -> str:
    """Idempotency key of a job; `run_id_of_job` reads it back."""
    return f"{state.id}-{kind}-{state.attempt}"


def deployment_name(run_id: str) -> str:
    """A run has one deployment at most, whose name anyone can work out."""
    return f"d-{run_id.removeprefix('run-')}"


def model_version(state: Run) -> str:
    """Of the registered model, whose name is the project's."""
    return state.id.removeprefix("run-")


def run_id_of_job(job: str) -> str | None:
    """`run-0123456789ab-training-1` -> `run-0123456789ab`; None if the job is not ours."""
    parts = job.rsplit("-", 2)
    return parts[0] if len(parts) == 3 and parts[0].startswith("run-") and parts[2].isdigit() else None


def run_id_of_blob(path: str, etag: str, key: str = "") -> str:
    """The same blob version gives the same run, however often its event arrives."""
    text = "\n".join((path, etag, key))
    return f"run-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
