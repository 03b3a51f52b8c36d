"""`dlq list`, `dlq replay`: messages that failed too often."""

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.table import Table

from cli.client import Api, find_url
from cli.display import make_console, print_one
from cli.options import AsJson, Url, print_json
from cli.tables import make_table
from shared.api.models import EntityDeadLetters
from shared.domain.errors import UnreadableDocument

dlq = typer.Typer(help="Messages that failed too often, and another try for them.", no_args_is_help=True)

EntityArgument = Annotated[
    str | None, typer.Argument(metavar="ENTITY", help="a queue or topic/subscription; else all of them")
]
PartitionArgument = Annotated[str, typer.Argument(metavar="PARTITION", help="as `dlq list` names it: a run's id")]
DocumentId = Annotated[str, typer.Option("--id", help="which document of it")]
MessageId = Annotated[str | None, typer.Option("--id", help="only this message of ENTITY")]


@dlq.command("list")
def list_(as_json: AsJson = False, url: Url = None) -> None:
    """List dead letters and stored documents that cannot be read: where they lie and why, never what is in them."""
    with Api(find_url(url)) as api:
        found = api.dead_letters()
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    if found.data:
        make_console().print(dead_letters_table(found.data))
    if found.unreadable:
        make_console().print(unreadable_table(found.unreadable))
    if not found.data and not found.unreadable:
        print("no dead letters")


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
    if as_json:
        print_json(replayed)
        return
    for name, count in replayed.items():
        print(f"{name}: {count} sent again")
    if not replayed:
        print("no dead letters")


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
