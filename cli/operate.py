"""Commands for who operates a Droptune: `doctor`, `base-models`, `license`, `dlq` (what failed too often), `policy`."""

import json
import math
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Group
from rich.table import Table
from rich.text import Text

from cli.client import Api, RequestRefused, find_url
from cli.common import AsJson, Exit, InputError, Url, make_grid, make_table, print_json
from cli.display import print_one
from shared.api.models import BaseModelDetail, BaseModelSummary, Check, CheckStatus, EntityDeadLetters
from shared.domain.catalog import USES, read_architecture, read_context
from shared.domain.errors import UnreadableDocument
from shared.domain.policy import PlatformPolicy
from shared.validation.policies import policy_problems

_STYLE = {CheckStatus.OK: "green", CheckStatus.FIX: "bold red", CheckStatus.SKIPPED: "dim"}


def doctor(as_json: AsJson = False, url: Url = None) -> None:
    """Check what a run will need; exit code 1 if there is something to fix."""
    with Api(find_url(url)) as api:
        checks = _checks(api)
    print_one(as_json, [check.model_dump(mode="json") for check in checks], _checks_table(checks))
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


def _checks_table(checks: list[Check]) -> Table:
    table = make_grid(3, whole=(0,))
    for check in checks:
        detail = Text(check.detail)
        if check.fix:
            detail.append(f"\nfix: {check.fix}", style="bold")
        table.add_row(Text(check.status.value, style=_STYLE[check.status]), Text(check.name), detail)
    return table


base_models = typer.Typer(help="What may be tuned, and the import before the first run.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="catalog id, as `droptune base-models list` shows it")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="until the job has ended")]

POLL_EVERY_S = 1.0


@base_models.command("list")
def list_base_models(as_json: AsJson = False, url: Url = None) -> None:
    """List the catalog: licenses, and whose tokenizer has been imported."""
    with Api(find_url(url)) as api:
        found = api.base_models()
    print_one(as_json, [each.model_dump(mode="json", by_alias=True) for each in found], base_models_table(found))


@base_models.command("add")
def add_base_model(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="of the model, on this machine")],
    id: Annotated[str, typer.Option(help="that recipes name it by, as OWNER/NAME")],
    license: Annotated[str, typer.Option(help="id of a license that `droptune license show` of another base names")],
    asset: Annotated[str | None, typer.Option(help="azureml:// address that jobs mount; default: models/ID")] = None,
    accelerator: Annotated[str, typer.Option(help="gpu, or cpu for a machine without one")] = "gpu",
    url: Url = None,
) -> None:
    """Offer a base model of your own: its config and the heads of its weights become an entry of the policy."""
    entry = own_entry(folder, id, {"license": license}, asset, accelerator)
    with Api(find_url(url)) as api:
        applied = api.policy(None)
        version = api.apply_policy(own_policy(applied.policy, entry), replacing=applied.version).version
    print(f"version {version} of the policy offers {id}, {entry['parameters']:,} parameters, license {license}")
    where = asset or f"a copy of {folder} at models/{id} of the blob store"
    print(f"Next: `droptune base-models import {id}`, which checks {where}")
    if accelerator != "cpu":
        print("Jobs on it need a machine with a GPU; if it needs none, add it again with --accelerator cpu")


def own_policy(policy: PlatformPolicy, entry: dict[str, Any]) -> dict[str, Any]:
    """The policy with this base model, in the place of one of its id. Raises InputError if it cannot be in force."""
    content = policy.model_dump(mode="json", exclude_unset=True)
    others = [one for one in content.get("base_models", []) if one["id"] != entry["id"]]
    content["base_models"] = [*others, entry]
    if problems := policy_problems(content):
        raise InputError("\n".join((f"{entry['id']} cannot be a base model:", *(f"  {one}" for one in problems))))
    return content


def own_entry(folder: Path, id: str, license: dict[str, Any], asset: str | None, accelerator: str) -> dict[str, Any]:
    """The entry of a folder, as a policy has it; `license` names one, or has its `terms`. Raises InputError."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        files = sorted(folder.glob("*.safetensors"))
        parameters = sum(map(_parameters, files))
        if not isinstance(config, dict):
            raise ValueError("config.json is no object")
        architecture, context = read_architecture(config), read_context(config)
    except (OSError, ValueError, struct.error) as error:
        raise InputError(f"{folder} is no folder of a base model: {error}") from error
    except (TypeError, KeyError, AttributeError) as error:  # a file may hold anything
        raise InputError(f"{folder} is no folder of a base model: a value is of another type: {error}") from error
    return {
        "id": id,
        **license,
        "parameters": parameters,
        "architecture": architecture,
        "asset": asset or f"azureml://datastores/models/paths/{id}",
        "context_tokens": context,
        "accelerator": accelerator,
    }


def _parameters(file: Path) -> int:
    """By the head of a file of weights: its length in 8 bytes, then JSON (huggingface.co/docs/safetensors, Format)."""
    with file.open("rb") as opened:
        head = json.loads(opened.read(struct.unpack("<Q", opened.read(8))[0]))
    return sum(math.prod(tensor["shape"]) for name, tensor in head.items() if name != "__metadata__")


@base_models.command("import")
def import_base_model(id: Id, wait: Wait = True, as_json: AsJson = False, url: Url = None) -> None:
    """Check a base model's folder and export its tokenizer. Exit code 1 if the job did not complete."""
    with Api(find_url(url)) as api:
        job = api.import_base_model(id)
        if not as_json:
            print(f"job {job} checks {id}")
        state = import_ended(api, id) if wait else api.base_model(id)
    last = state.last_import
    if as_json:
        print_json(state.model_dump(mode="json", by_alias=True))
    elif last and last.problem:
        print(f"{last.status}: {last.problem.code}: {last.problem.message}")
    elif wait:
        print(f"imported, license {state.terms.id}: {' '.join(state.terms.obligations)}")
        print(f"tokenizer bundle {state.tokenizer_sha256}")
    if last and last.problem:
        raise typer.Exit(Exit.REFUSED)


def import_ended(api: Api, id: str) -> BaseModelDetail:
    while (state := api.base_model(id)).last_import is None or not state.last_import.status.final:
        time.sleep(POLL_EVERY_S)
    return state


def base_models_table(found: Iterable[BaseModelSummary]) -> Table:
    table = make_table("id", "license", "may be tuned", "tokenizer")
    for each in found:
        allowed = {"allow": "yes", "review": "once its license is accepted", "deny": "no"}[each.terms.policy]
        table.add_row(*map(Text, (each.id, each.terms.id, allowed, (each.tokenizer_sha256 or "not imported")[:12])))
    return table


license_app = typer.Typer(help="Read, accept and refuse licenses of base models.", no_args_is_help=True)

Terms = Annotated[str, typer.Option(help="hash of what was read, as `show` prints it")]
Reason = Annotated[str, typer.Option("-m", "--comment", help="why; kept with the decision")]


@license_app.command("show")
def show_license(id: Id, as_json: AsJson = False, url: Url = None) -> None:
    """What the license asks for and bars, where its texts are, and who has accepted or refused it."""
    with Api(find_url(url)) as api:
        found = api.base_model(id)
    print_one(as_json, found.model_dump(mode="json", by_alias=True), license_text(found))


@license_app.command("accept")
def accept_license(id: Id, terms: Terms, comment: Reason, url: Url = None) -> None:
    """Accept it for the whole deployment, after reading its texts. For administrators."""
    with Api(find_url(url)) as api:
        api.decide_license(id, accepted=True, terms_sha256=terms, comment=comment)
    print(f"accepted the license of {id}")


@license_app.command("refuse")
def refuse_license(id: Id, terms: Terms, comment: Reason, url: Url = None) -> None:
    """Refuse it: no model of it is tuned or deployed, also by runs under way. For administrators."""
    with Api(find_url(url)) as api:
        api.decide_license(id, accepted=False, terms_sha256=terms, comment=comment)
    print(f"refused the license of {id}")


def license_text(found: BaseModelDetail) -> str:
    lines = [f"{found.id}, license {found.terms.id}, hash of its terms {found.terms_sha256}"]
    lines += [f"  text: {place} (SHA-256 {sha256 or 'not known'})" for place, sha256 in found.terms.texts.items()]
    lines += [f"  asks for: {obligation}" for obligation in found.terms.obligations]
    lines += [f"  bars {use}: {USES[use]}" for use in found.terms.barred_uses]
    for one in found.decisions:
        lines += [f"{'accepted' if one.accepted else 'refused'} by {one.by}, {one.at:%Y-%m-%d}: {one.comment}"]
    return "\n".join([*lines, found.review_problem.message if found.review_problem else "models of it may be tuned"])


dlq = typer.Typer(help="Messages that failed too often, and another try for them.", no_args_is_help=True)

EntityArgument = Annotated[
    str | None, typer.Argument(metavar="ENTITY", help="a queue or topic/subscription; else all of them")
]
PartitionArgument = Annotated[str, typer.Argument(metavar="PARTITION", help="as `dlq list` names it: a run's id")]
DocumentId = Annotated[str, typer.Option("--id", help="which document of it")]
MessageId = Annotated[str | None, typer.Option("--id", help="only this message of ENTITY")]


@dlq.command("list")
def list_dead_letters(as_json: AsJson = False, url: Url = None) -> None:
    """List dead letters and stored documents that cannot be read: where they lie and why, never what is in them."""
    with Api(find_url(url)) as api:
        found = api.dead_letters()
    tables = [dead_letters_table(found.data)] if found.data else []
    tables += [unreadable_table(found.unreadable)] if found.unreadable else []
    print_one(as_json, found.model_dump(mode="json"), Group(*tables) if tables else "no dead letters")


@dlq.command()
def replay(
    entity: EntityArgument = None, message_id: MessageId = None, as_json: AsJson = False, url: Url = None
) -> None:
    """Send dead letters again. A function that has handled a message ignores the repeat."""
    if message_id is not None and entity is None:
        raise typer.BadParameter("--id needs an ENTITY")
    with Api(find_url(url)) as api:
        entities = [entity] if entity else [each.entity for each in api.dead_letters().data]
        replayed = {name: api.replay(name, message_id) for name in entities}
    lines = [f"{name}: {count} sent again" for name, count in replayed.items()]
    print_one(as_json, replayed, "\n".join(lines) or "no dead letters")


@dlq.command()
def release(partition: PartitionArgument, id: DocumentId = "run", as_json: AsJson = False, url: Url = None) -> None:
    """Take a document that cannot be read out of the run store; it is kept in the container `quarantine`.

    A run keeps what can be read of it. One under way ends as failed, and gives back what it holds.
    """
    with Api(find_url(url)) as api:
        released = api.release(partition, id)
    stays = f"; of run {released.run} what can be read stays: droptune watch {released.run}" if released.run else ""
    print_one(as_json, released.model_dump(), f"kept as {released.path}{stays}")


def unreadable_table(found: Iterable[UnreadableDocument]) -> Table:
    table = make_table("document", "partition", "id", "why")
    for each in found:
        table.add_row(each.type, each.partition, each.id, each.problem)
    return table


def dead_letters_table(found: Iterable[EntityDeadLetters]) -> Table:
    """One line per message; where there are more than the API shows, a line says how many."""
    table = make_table("entity", "id", "subject", "deliveries", "enqueued", "why")
    for each in found:
        for message in each.messages:
            why = ": ".join(part for part in (message.reason, message.description) if part)
            enqueued = f"{message.enqueued_at.astimezone():%Y-%m-%d %H:%M:%S}"
            table.add_row(each.entity, message.id, message.subject, str(message.delivery_count), enqueued, why)
        if each.problem:
            table.add_row(each.entity, "", "", "", "", f"not looked at: {each.problem}")
        if each.count > len(each.messages):
            table.add_row(each.entity, f"and {each.count - len(each.messages)} more")
    return table


policy_app = typer.Typer(help="Show and apply the platform's policy.", no_args_is_help=True)


@policy_app.command()
def show(
    version: Annotated[int | None, typer.Option(min=1, help="instead of the one in force")] = None, url: Url = None
) -> None:
    """Show the policy as `apply` takes it, and who applied it."""
    with Api(find_url(url)) as api:
        applied = api.policy(version)
    who = f"applied by {applied.by} at {applied.at:%Y-%m-%d %H:%M} UTC" if applied.at else "none was applied"
    print(f"# version {applied.version}, {who}")
    print(yaml.safe_dump(applied.policy.model_dump(mode="json", exclude_unset=True), sort_keys=False), end="")


@policy_app.command()
def apply(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    replacing: Annotated[int, typer.Option(min=0, help="the version that FILE was made from; 0 if none was applied")],
    url: Url = None,
) -> None:
    """Put the policy of FILE (YAML) in force. Runs under way are held to it in their next step."""
    try:
        raw = yaml.safe_load(file.read_bytes()) or {}
    except (yaml.YAMLError, ValueError) as error:  # of a number or date that is none
        raise InputError(f"{file} is no YAML: {error}") from error
    if problems := policy_problems(raw):
        raise InputError("\n".join((f"{file} is no policy:", *(f"  {one}" for one in problems))))
    policy = PlatformPolicy.model_validate(raw)
    with Api(find_url(url)) as api:
        applied = api.apply_policy(policy.model_dump(mode="json", exclude_unset=True), replacing=replacing)
    print(f"version {applied.version} of the policy is in force, in the place of version {replacing}")
