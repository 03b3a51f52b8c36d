"""`base-models list`, `base-models import`: what may be tuned, and the import before the first run."""

import time
from collections.abc import Iterable
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from cli.client import Api, find_url
from cli.display import make_console
from cli.exit_codes import Exit
from cli.options import AsJson, Url, print_json
from cli.tables import make_table
from shared.api.models import BaseModelDetail, BaseModelSummary

base_models = typer.Typer(help="What may be tuned, and the import before the first run.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="catalog id, as `droptune base-models list` shows it")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="until the job has ended")]

POLL_EVERY_S = 1.0


@base_models.command("list")
def list_(as_json: AsJson = False, url: Url = None) -> None:
    """List the catalog: licenses, and whose tokenizer has been imported."""
    with Api(find_url(url)) as api:
        found = api.base_models()
    if as_json:
        print_json([each.model_dump(mode="json", by_alias=True) for each in found])
    else:
        make_console().print(base_models_table(found))


@base_models.command("import")
def import_(id: Id, wait: Wait = True, as_json: AsJson = False, url: Url = None) -> None:
    """Check a base model's folder and export its tokenizer. Exit code 1 if the job did not complete."""
    with Api(find_url(url)) as api:
        job = api.import_base_model(id)
        if not as_json:
            print(f"job {job} checks {id}")
        state = _ended(api, id) if wait else api.base_model(id)
    last = state.last_import
    if as_json:
        print_json(state.model_dump(mode="json", by_alias=True))
    elif last and last.problem:
        print(f"{last.status}: {last.problem.code}: {last.problem.message}")
    elif wait:
        obligations = " ".join(state.obligations)
        print(f"imported, license {state.license}: {obligations}\ntokenizer bundle {state.tokenizer_sha256}")
    if last and last.problem:
        raise typer.Exit(Exit.REFUSED)


def _ended(api: Api, id: str) -> BaseModelDetail:
    while (state := api.base_model(id)).last_import is None or not state.last_import.status.final:
        time.sleep(POLL_EVERY_S)
    return state


def base_models_table(found: Iterable[BaseModelSummary]) -> Table:
    table = make_table("id", "license", "may be tuned", "tokenizer")
    for each in found:
        allowed = {"allow": "yes", "review": "after a review", "deny": "no"}[each.license_policy]
        table.add_row(*map(Text, (each.id, each.license, allowed, (each.tokenizer_sha256 or "not imported")[:12])))
    return table
