"""`droptune`, a client of the HTTP API: runs and endpoints, what happens to them, and commands for them."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group

from cli.agents import serve_agent
from cli.client import Api, RequestRefused, Unreachable, find_url
from cli.common import EXIT_BY_STATUS, EXIT_HELP, AsJson, Comment, Exit, InputError, RunId, Url, print_json
from cli.display import make_console, print_one, report_unreadable, show, show_json, utf8_output
from cli.endpoints import endpoints_app, rollback
from cli.follow import follow, next_run
from cli.map_records import map_records
from cli.operate import base_models, dlq, doctor, license_app, policy_app
from cli.rate import rate
from cli.report_view import report_view
from cli.review import review
from cli.subscriptions import subscriptions_app
from cli.validate import grade_file, validate_file
from cli.view import runs_table, verdict_view
from shared.domain.drop_zone import Role, role_of

app = typer.Typer(
    help=f"Show and control the runs of a Droptune.\n\n{EXIT_HELP}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Project = Annotated[str | None, typer.Option("--project", help="only this project")]


@app.command()
def runs(project: Project = None, as_json: AsJson = False, url: Url = None) -> None:
    """List runs, the newest first."""
    with Api(find_url(url)) as api:
        found = api.runs(project)
    if as_json:
        print_json([run.model_dump(mode="json") for run in found.data])
    elif found.data:
        make_console().print(runs_table(found.data))
    elif not found.unreadable:
        print("no runs yet")
    report_unreadable(found.unreadable)


@app.command(epilog=EXIT_HELP)
def watch(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="run id")] = None,
    project: Annotated[str | None, typer.Option("--project", help="its newest run instead")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per change")] = False,
    url: Url = None,
) -> None:
    """Follow a run until it ends; the exit code says how it ended."""
    if (run is None) == (project is None):
        raise typer.BadParameter("give either RUN or --project")
    with Api(find_url(url)) as api:
        run_id = run or next_run(api, str(project), lambda _: True)
        _watch(api, run_id, as_json)


_WITHOUT_RUN = {
    Role.HELD_OUT: "; it is held-out data and starts no run",
    Role.RECIPE: "; it is a recipe and starts no run",
    Role.NOTHING: "; by its name it is no data, and starts no run",
}


@app.command(epilog=EXIT_HELP)
def drop(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    project: Annotated[str, typer.Option("--project", help="whose drop zone")],
    then_watch: Annotated[bool, typer.Option("--watch", help="follow the run it starts")] = False,
    url: Url = None,
) -> None:
    """Put FILE into a project's drop zone. A recipe (`recipe.yaml`) and held-out rows start no run, every other data
    file does. Held-out rows are in a file whose name begins with `eval`, `validation`, `dev`, `test` or `holdout` as a
    word: `dev.jsonl`, `dev-set.csv`, `test2.csv`, not `devices.csv`."""
    with Api(find_url(url)) as api:
        before = {run.id for run in api.runs(project).data} if then_watch else set()
        with file.open("rb") as content:
            requested = api.put_dataset(project, file.name, content)
        role = role_of(f"datasets/{project}/{file.name}")
        print(f"{file.name} is in the drop zone of {project}{_WITHOUT_RUN.get(role, '')}", file=sys.stderr)
        if then_watch and role not in _WITHOUT_RUN:
            _watch(api, next_run(api, project, lambda run_id: run_id not in before, requested), as_json=False)


@app.command()
def report(run: RunId, as_json: AsJson = False, url: Url = None) -> None:
    """Show what validation found in a run's data and recipe."""
    with Api(find_url(url)) as api:
        found = api.report(run)
    print_one(as_json, found.model_dump(mode="json"), report_view(found))


@app.command()
def cancel(run: RunId, url: Url = None) -> None:
    """Cancel a run: its job is stopped. A rollout under way is rolled back; otherwise its endpoint stays as it is."""
    with Api(find_url(url)) as api:
        api.cancel(run)
    print(f"run {run} is being cancelled; follow it with: droptune watch {run}")


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


def promote(run: RunId, comment: Comment = "", as_json: AsJson = False, url: Url = None) -> None:
    """Ask for the model of a run that ended in production; somebody else approves it. Shows what the gate found then.
    For the model before the present one there is `rollback`, which is quicker."""
    with Api(find_url(url)) as api:
        before, requested = api.run(run)[0], api.promote(run, comment=comment)
        waits = f"run {run} waits for approval; another person gives it: droptune approve {run}"
        shown = Group(verdict_view(api, before), waits)
    print_one(as_json, requested.model_dump(mode="json"), shown)


def retry(run: RunId, as_json: AsJson = False, url: Url = None) -> None:
    """Start another run with the data of one that ended without being deployed."""
    with Api(find_url(url)) as api:
        child = api.retry(run)
    print_one(as_json, {"id": child, "parent_run": run}, f"started run {child}; follow it with: droptune watch {child}")


for command in (approve, deny, promote, retry, rollback, doctor, review, rate):
    app.command()(command)
app.command("mcp")(serve_agent)
app.command("validate")(validate_file)
app.command("grade")(grade_file)
app.command("map")(map_records)
app.add_typer(base_models, name="base-models")
app.add_typer(dlq, name="dlq")
app.add_typer(endpoints_app, name="endpoints")
app.add_typer(policy_app, name="policy")
app.add_typer(license_app, name="license")
app.add_typer(subscriptions_app, name="subscriptions")


def _watch(api: Api, run_id: str, as_json: bool) -> None:
    if as_json:
        ended = show_json(follow(api, run_id))
    else:
        console = make_console()
        ended = show(console, follow(api, run_id))
        console.print(verdict_view(api, ended))
    raise typer.Exit(EXIT_BY_STATUS.get(ended.status, Exit.REFUSED))


def main() -> None:
    """Run the command line; an error that has an explanation is one line on stderr."""
    utf8_output()
    try:
        app()
    except (Unreachable, RequestRefused, InputError) as error:
        print(error, file=sys.stderr)
        sys.exit(Exit.UNREACHABLE if isinstance(error, Unreachable) else Exit.REFUSED)
