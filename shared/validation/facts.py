"""What a row is compared and keyed by, all of which it shows by itself: found in this process or in another."""

from typing import NamedTuple

from shared.domain.recipe import Recipe
from shared.validation import compared
from shared.validation.content.damage import DAMAGED, damage_of
from shared.validation.content.row_scan import ContentPolicy, Dialogue, Found, RowScan
from shared.validation.rows import Extent, ParsedRow, extent_of


class Facts(NamedTuple):
    """`found`: in its texts. `label`: as it is written. `fields`: of an answer that is JSON: path, value, label.
    `dialogue` is None if it has no words."""

    found: list[Found]
    content: compared.Content
    label: str
    fields: list[tuple[str, str, int]]
    extent: Extent
    dialogue: Dialogue | None


class FactFinder:
    """`rows` finds what is in texts."""

    def __init__(self, recipe: Recipe, rows: RowScan) -> None:
        self._rows, self._reference = rows, compared.reference_of(recipe)

    def facts(self, row: ParsedRow, *, is_chat: bool, held_out: bool) -> Facts | None:
        """None if the row may have to be redacted first. `is_chat`: it ends with an answer to learn."""
        read = self._rows.find(row.document)
        return None if read is None else self.compared(row, read[0], is_chat=is_chat, held_out=held_out)

    def compared(self, row: ParsedRow, found: list[Found], *, is_chat: bool, held_out: bool) -> Facts:
        """The facts of a row whose texts are known, and redacted where they had to be."""
        statement = None if is_chat or held_out else compared.statement_of(row, self._reference)
        dialogue = self._rows.dialogue(
            row.messages, compared.tools_of(row.document), has_answer=is_chat, held_out=held_out, statement=statement
        )
        values = compared.answer_fields(row, self._reference)
        fields = [(name, value, compared.label_key(f"{name}\0{compared.plain_label(value)}")) for name, value in values]
        label = compared.label_of(row, self._reference)
        answers = [*row.messages, *row.document.get("non_preferred_output", ())]
        missing = not label.strip() or (label == "null" and None in row.item.values())  # reported as a grader's field
        if not is_chat and not missing and answers[-1]["role"] != "assistant":
            answers.append({"role": "assistant", "content": label})  # a prompt's reference
        for kind, number in sorted(dict(reversed([*damage_of(answers)])).items()):
            part = f"messages[{number}].content" if "messages" in row.document and number < len(row.messages) else ""
            found = [*found, (DAMAGED, kind, part)]
        return Facts(found, compared.content_of(row), label, fields, extent_of(row), dialogue)


def policy_of(recipe: Recipe) -> ContentPolicy:
    data = recipe.data
    return ContentPolicy(data.personal_data, frozenset(data.personal_data_allowed), data.secrets)
