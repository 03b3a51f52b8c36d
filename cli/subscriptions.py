"""`droptune subscriptions`: who gets which events, and what became of them."""

import os
from datetime import datetime
from typing import Annotated, Any

import typer

from cli.client import Api, find_url
from cli.common import AsJson, Exit, InputError, Url, make_table, print_json
from cli.display import print_one
from shared.domain.events import Severity

subscriptions_app = typer.Typer(help="Who gets which events, and what became of them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="its name, or its id where a name is of several")]
Project = Annotated[str | None, typer.Option(help="of this project; else of all projects")]
Events = Annotated[list[str] | None, typer.Option("--event", help="or a pattern as `run.*`; may be given again")]


@subscriptions_app.command("list")
def list_subscriptions(project: Project = None, as_json: AsJson = False, url: Url = None) -> None:
    """List those that you may see, with state and newest delivery."""
    found = _ask(url, "GET", params={"project": project} if project else {})["data"]
    table = make_table("name", "project", "target", "state", "last delivery", whole=("name",))
    for one in found:
        last = f"{one['last']['event']['type'].removeprefix('droptune.')} {one['last']['state']}" if one["last"] else ""
        off, failing = one["disabled"], one["failing_since"]
        state = f"disabled: {off['message']}" if off else f"failing since {failing}" if failing else "enabled"
        table.add_row(one["name"], one["project"] or "all", " ".join(one["target"].values()), state, last)
    print_one(as_json, found, table if found else "no subscriptions")


@subscriptions_app.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="small letters, digits, - and _")],
    type: Annotated[str, typer.Option(help="webhook, event_grid, teams or slack")],
    project: Project = None,
    events: Events = None,
    severity: Annotated[Severity, typer.Option(help="the least that an event must have")] = Severity.INFO,
    binary: Annotated[bool, typer.Option("--binary", help="a webhook: attributes as headers")] = False,
    url: Url = None,
) -> None:
    """Create one. The target's URL is read from DROPTUNE_TARGET_URL or asked for: it may be a secret."""
    address = os.environ.get("DROPTUNE_TARGET_URL") or typer.prompt("URL of the target", hide_input=True)
    target = {"type": type, "url": address, **({"mode": "binary"} if binary else {})}
    body = {"name": name, "project": project, "target": target, "severity": severity}
    made = _ask(url, "POST", json=body | ({"events": events} if events else {}))
    print(f"created {made['subscription']['id']}; its keys, which nothing shows again:")
    print("\n".join([*made["keys"], *(f"note: {warning}" for warning in made["warnings"])]))


@subscriptions_app.command("show")
def show(name: Name, project: Project = None, url: Url = None) -> None:
    """What it gets, where, and why it gets nothing."""
    print_json(_ask(url, "GET", _path(url, name, project)))


@subscriptions_app.command("test")
def try_it(name: Name, project: Project = None, url: Url = None) -> None:
    """Send a `subscription.test` now; exit code 1 if the target does not take it."""
    tried = _ask(url, "POST", f"{_path(url, name, project)}/test")
    print(_attempt_text(tried))
    if tried["code"]:
        raise typer.Exit(Exit.REFUSED)


@subscriptions_app.command("rotate")
def rotate(name: Name, project: Project = None, url: Url = None) -> None:
    """Make a new key in the place of the older of the two, and print it."""
    print(_ask(url, "POST", f"{_path(url, name, project)}/rotate")["key"])


@subscriptions_app.command("log")
def log(name: Name, project: Project = None, as_json: AsJson = False, url: Url = None) -> None:
    """What became of the newest 100 events: attempts with status and time. It is kept 30 days."""
    found = _ask(url, "GET", f"{_path(url, name, project)}/deliveries", params={"limit": "100"})["data"]
    table = make_table("at", "event", "state", "attempts", whole=("at",))
    for one in found:
        attempts = "; ".join(map(_attempt_text, one["attempts"]))
        table.add_row(one["noted_at"][:19], one["event"]["id"], one["state"], attempts)
    print_one(as_json, found, table if found else "no deliveries")


@subscriptions_app.command("redeliver")
def redeliver(
    name: Name,
    event: Annotated[str | None, typer.Option(help="id of one event, as `log` prints it")] = None,
    since: Annotated[datetime | None, typer.Option(help="those noted from then on, in UTC")] = None,
    until: Annotated[datetime | None, typer.Option(help="and until then")] = None,
    all: Annotated[bool, typer.Option("--all", help="delivered ones too")] = False,
    project: Project = None,
    url: Url = None,
) -> None:
    """Send an event again, or those of a range that were not delivered."""
    given = {"event": event, "since": since and since.isoformat(), "until": until and until.isoformat()}
    query = {key: value for key, value in given.items() if value} | ({"all": "true"} if all else {})
    print(f"{_ask(url, 'POST', f'{_path(url, name, project)}/redeliver', params=query)['redelivered']} sent again")


@subscriptions_app.command("enable")
def enable(name: Name, project: Project = None, url: Url = None) -> None:
    """Let a disabled one get events again; what it has missed is sent by `redeliver`."""
    _ask(url, "PATCH", _path(url, name, project), json={"enabled": True})


@subscriptions_app.command("remove")
def remove(name: Name, project: Project = None, url: Url = None) -> None:
    """Delete it: what is on its way to it is dropped."""
    _ask(url, "DELETE", _path(url, name, project))


def _ask(url: str | None, method: str, path: str = "", **request: Any) -> Any:
    with Api(find_url(url)) as api:
        return api.subscriptions(method, path, **request)


def _path(url: str | None, name: str, project: str | None) -> str:
    query = {"project": project} if project else {}
    named = [one for one in _ask(url, "GET", params=query)["data"] if name in (one["name"], one["id"])]
    if len(named) != 1:
        ids = ", ".join(one["id"] for one in named) or "`droptune subscriptions list` shows those that you may see"
        raise InputError(f"{name} is the name of {len(named) or 'no'} subscriptions: {ids}")
    return f"/{named[0]['id']}"


def _attempt_text(one: dict[str, Any]) -> str:
    return f"{' '.join(str(part) for part in (one['status'], one['code']) if part)} in {one['ms']:.0f} ms"
