"""`endpoints`, `rollback`: what is in production, and the return to the previous deployment."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from cli.client import Api, find_url
from cli.common import AsJson, Comment, Url, make_table, print_json
from cli.display import make_console, print_one, report_unreadable
from shared.api.models import EndpointList
from shared.domain.endpoint import PRICE_NOTE, EndpointRecord, PreviousDeployment, total

Yes = Annotated[bool, typer.Option("--yes", help="do not ask")]
EndpointArgument = Annotated[str, typer.Argument(metavar="ENDPOINT", help="its name, as `droptune endpoints` lists it")]

endpoints_app = typer.Typer(invoke_without_command=True)


@endpoints_app.callback()
def endpoints(context: typer.Context, as_json: AsJson = False, url: Url = None) -> None:
    """List the endpoints, whose model is in production at each and what it costs; or show, restore or delete one."""
    if context.invoked_subcommand is not None:
        return
    with Api(find_url(url)) as api:
        found = api.endpoints()
    if as_json:
        rows = {one.endpoint: one.model_dump(mode="json") for one in found.data}
        for cost in found.costs:  # also of endpoints without a model in production
            rows[cost.endpoint] = (
                rows.get(cost.endpoint, dict.fromkeys(EndpointRecord.model_fields)) | cost.model_dump()
            )
        print_json(list(rows.values()))
    elif found.data or found.costs:
        make_console().print(endpoints_table(found))
        if found.costs:
            now, month = (total([getattr(one, of) for one in found.costs]) for of in ("usd_per_hour", "usd_this_month"))
            print(f"USD per hour now: {_usd(now)}; this month: {_usd(month)}; {PRICE_NOTE}")
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
        machines = f"{one.instances} x {one.instance_type}" + (f", at most {n}" if (n := one.max_instances) else "")
        table.add_row(one.deployment, one.run, machines, _usd(one.usd_per_hour), since, until)
    make_console().print(endpoints_table(EndpointList(data=(found,), costs=(found,))), table)
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


def endpoints_table(found: EndpointList) -> Table:
    columns = ("endpoint", "run", "deployment", "since", "previous", "USD per hour", "this month", "state")
    table = make_table(*columns, whole=("run",))
    usd = {one.endpoint: (_usd(one.usd_per_hour), _usd(one.usd_this_month)) for one in found.costs}
    for one in found.data:
        since = f"{one.promoted_at.astimezone():%Y-%m-%d %H:%M:%S}"
        state = f"stopped {one.stopped.at:%Y-%m-%d %H:%M} UTC: {one.stopped.reason}" if one.stopped else "serves"
        if not one.stopped and one.health and (problem := one.health.problem):
            state = f"{one.health.state} {one.health.since:%Y-%m-%d %H:%M} UTC: {problem.message}"
        cost = usd.pop(one.endpoint, ("", ""))
        table.add_row(one.endpoint, one.champion, one.deployment, since, _previous_cell(one.previous), *cost, state)
    for name, cost in usd.items():
        table.add_row(name, "", "", "", "", *cost, "no model in production")
    return table


def _previous_cell(previous: PreviousDeployment | None) -> str:
    """Empty once it is no longer kept, whether or not it has been deleted."""
    if previous is None or datetime.now(UTC) >= previous.keep_until:
        return ""
    return f"{previous.deployment} until {previous.keep_until.astimezone():%Y-%m-%d %H:%M}"
