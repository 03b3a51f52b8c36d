"""`approve`, `deny`, `retry`: a person's decision on a run."""

from typing import Annotated

import typer

from cli.client import Api, find_url
from cli.display import print_one
from cli.options import AsJson, RunId, Url

Comment = Annotated[str, typer.Option("-m", "--comment", help="why; kept with the run")]


def approve(run: RunId, comment: Comment = "", as_json: AsJson = False, url: Url = None) -> None:
    """Approve a candidate that passed the gate; its rollout begins once enough persons have. Not by who asked for the
    run; on a laptop DROPTUNE_USER=NAME says who you are."""
    with Api(find_url(url)) as api:
        missing = api.approve(run, comment=comment)
    line = f"approved run {run}; follow the rollout with: droptune watch {run}"
    waits = f"approved run {run}; {missing} more must approve"
    print_one(as_json, {"id": run, "decision": "approved", "missing": missing}, waits if missing else line)


def deny(run: RunId, comment: Comment = "", as_json: AsJson = False, url: Url = None) -> None:
    """Decline a candidate that passed the gate. The model in production stays."""
    with Api(find_url(url)) as api:
        api.deny(run, comment=comment)
    print_one(as_json, {"id": run, "decision": "denied"}, f"denied run {run}; the model in production stays")


def retry(run: RunId, as_json: AsJson = False, url: Url = None) -> None:
    """Start another run with the data of one that ended without being deployed."""
    with Api(find_url(url)) as api:
        child = api.retry(run)
    print_one(as_json, {"id": child, "parent_run": run}, f"started run {child}; follow it with: droptune watch {child}")
