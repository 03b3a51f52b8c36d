"""`droptune doctor`: what is there, what is not, and what to do about it."""

import typer
from rich.table import Table
from rich.text import Text

from cli.client import Api, RequestRefused, find_url
from cli.display import make_console
from cli.exit_codes import Exit
from cli.options import AsJson, Url, print_json
from cli.tables import make_grid
from shared.health.checks import Check, CheckStatus

_STYLE = {CheckStatus.OK: "green", CheckStatus.FIX: "bold red", CheckStatus.SKIPPED: "dim"}


def doctor(as_json: AsJson = False, url: Url = None) -> None:
    """Check what a run will need; exit code 1 if there is something to fix."""
    with Api(find_url(url)) as api:
        checks = _checks(api)
    if as_json:
        print_json([check.model_dump(mode="json") for check in checks])
    else:
        make_console().print(_table(checks))
    if any(check.status is CheckStatus.FIX for check in checks):
        raise typer.Exit(Exit.REFUSED)


def _checks(api: Api) -> list[Check]:
    try:
        return api.doctor()
    except RequestRefused as error:
        # Without its settings the app cannot authenticate a caller, so it refuses before it can check anything.
        if error.problem.code not in ("bad_settings", "bad_auth_url"):
            raise
        fix = "correct the setting in the app's configuration and restart the app"
        return [Check(name="settings", status=CheckStatus.FIX, detail=error.problem.message, fix=fix)]


def _table(checks: list[Check]) -> Table:
    table = make_grid(3, whole=(0,))
    for check in checks:
        detail = Text(check.detail)
        if check.fix:
            detail.append(f"\nfix: {check.fix}", style="bold")
        table.add_row(Text(check.status.value, style=_STYLE[check.status]), Text(check.name), detail)
    return table
