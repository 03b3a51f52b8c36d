"""Commands for runs that `/api` and `/v1` share."""

from functions.http.auth import Access
from functions.http.errors import ApiError
from functions.http.run_queries import find_run
from shared.domain.commands import StartRun
from shared.domain.events import CancelRequested
from shared.domain.topology import STORAGE_EVENTS
from shared.ports import BlobInfo, Publisher
from shared.runner import Runner
from shared.step_support.outcome import Draft, message_of


def start_run(bus: Publisher, info: BlobInfo, key: str, access: Access, parent_run: str | None = None) -> str:
    """Ask for a run of the blob; returns the id it will have. Raises ApiError 403."""
    access.require(info.path.split("/")[1])
    by = {"requested_by": access.caller.name, "requester_id": access.caller.person_id}
    command = StartRun(path=info.path, etag=info.etag, key=key, parent_run=parent_run, **by)
    bus.send(STORAGE_EVENTS, [message_of(command)])
    return command.id


def cancel_run(runner: Runner, run_id: str, access: Access) -> None:
    """Raises ApiError as `find_run`, or 409 if the run is over."""
    run = find_run(runner.services, run_id, access)
    if run.terminal:
        raise ApiError(409, "run_finished", f"the run is {run.status.value}", run_id)
    runner.publish(run, Draft(CancelRequested(by=access.caller.name)))
