"""`endpoints`, `rollback`: what is in production, and the return to the previous deployment."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from cli.client import Api, find_url
from cli.decisions import Comment
from cli.display import make_console, print_one, report_unreadable
from cli.options import AsJson, Url, print_json
from cli.tables import make_table
from shared.domain.endpoint import EndpointRecord, PreviousDeployment

Yes = Annotated[bool, typer.Option("--yes", help="do not ask")]
EndpointArgument = Annotated[str, typer.Argument(metavar="ENDPOINT", help="its name, as `droptune endpoints` lists it")]


endpoints_app = typer.Typer(invoke_without_command=True)


@endpoints_app.callback()
def endpoints(context: typer.Context, as_json: AsJson = False, url: Url = None) -> None:
    """List the endpoints and whose model is in production at each; or show, restore or delete one."""
    if context.invoked_subcommand is not None:
        return
    with Api(find_url(url)) as api:
        found = api.endpoints()
    if as_json:
        print_json([endpoint.model_dump(mode="json") for endpoint in found.data])
    elif found.data:
        make_console().print(endpoints_table(found.data))
    elif not found.unreadable:
        print("nothing is in production yet")
    report_unreadable(found.unreadable)


@endpoints_app.command("show")
def show(endpoint: EndpointArgument, as_json: AsJson = False, url: Url = None) -> None:
    """Show ENDPOINT, its deployments and what they cost by list prices: an hour, and this month."""
    with Api(find_url(url)) as api:
        found = api.endpoint(endpoint)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    table = make_table("deployment", "run", "machines", "USD per hour", "since", "until", whole=("run",))
    for one in (*found.costs.running, *reversed(found.costs.ended)):
        since, until = (f"{at.astimezone():%Y-%m-%d %H:%M}" if at else "" for at in (one.since, one.until))
        machines = f"{one.instances} x {one.instance_type}"
        table.add_row(one.deployment, one.run, machines, _usd(one.usd_per_hour), since, until)
    make_console().print(endpoints_table([found]), table)
    print(f"USD per hour now: {_usd(found.usd_per_hour)}; this month: {_usd(found.usd_this_month)}; {found.price_note}")


def _usd(amount: float | None) -> str:
    return "unknown price" if amount is None else f"{amount:.2f}"


@endpoints_app.command("restore")
def restore(endpoint: EndpointArgument, comment: Comment = "", as_json: AsJson = False, url: Url = None) -> None:
    """Deploy the model of ENDPOINT again after its deployment was deleted because nobody used it."""
    with Api(find_url(url)) as api:
        run = api.restore_endpoint(endpoint, comment)
    print_one(as_json, {"run": run}, f"restore of {endpoint} requested; the history of {run} says when it is done")


@endpoints_app.command("delete")
def delete(
    endpoint: EndpointArgument, comment: Comment = "", yes: Yes = False, as_json: AsJson = False, url: Url = None
) -> None:
    """Delete ENDPOINT with its deployments. Runs and registered models stay; a new drop creates the endpoint again."""
    if not yes:
        typer.confirm(f"{endpoint} answers no more, and nothing brings it back. Delete it?", abort=True)
    with Api(find_url(url)) as api:
        run = api.delete_endpoint(endpoint, comment)
    print_one(as_json, {"run": run}, f"deletion of {endpoint} requested; the history of {run} says when it is done")


def rollback(endpoint: EndpointArgument, comment: Comment = "", as_json: AsJson = False, url: Url = None) -> None:
    """Give the traffic of ENDPOINT back to its previous deployment; the same again reverses it."""
    with Api(find_url(url)) as api:
        accepted = api.roll_back(endpoint, comment)
    line = f"rollback of {endpoint} requested: from {accepted.from_} to {accepted.to}; see it with: droptune endpoints"
    print_one(as_json, accepted.model_dump(mode="json", by_alias=True), line)


def endpoints_table(found: Iterable[EndpointRecord], now: datetime | None = None) -> Table:
    table = make_table("endpoint", "run", "deployment", "since", "previous", "state", whole=("run",))
    for one in found:
        since = f"{one.promoted_at.astimezone():%Y-%m-%d %H:%M:%S}"
        previous = _previous_cell(one.previous, now or datetime.now(UTC))
        state = f"stopped {one.stopped.at:%Y-%m-%d %H:%M} UTC: {one.stopped.reason}" if one.stopped else "serves"
        table.add_row(one.endpoint, one.champion, one.deployment, since, previous, state)
    return table


def _previous_cell(previous: PreviousDeployment | None, now: datetime) -> str:
    """Empty once it is no longer kept, whether or not it has been deleted."""
    if previous is None or now >= previous.keep_until:
        return ""
    return f"{previous.deployment} until {previous.keep_until.astimezone():%Y-%m-%d %H:%M}"
