"""Files to rows: the format, what is wrong with each row, and the fields that the recipe needs in it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from shared.domain.findings import Findings, Place
from shared.domain.graders import Absent, Grader
from shared.domain.recipe import PAIR_NAME, Recipe, Reinforcement
from shared.domain.row_fields import is_missing, value_at
from shared.grading.engine import fields, row_check
from shared.validation.fields import FieldNotes, labels_of, replaced_fields, used_fields
from shared.validation.formats import CHAT, FOREIGN, NAME_COLUMNS, Format, known_names
from shared.validation.held_out import why_no_slice
from shared.validation.intake import ExpectedRows, Intake, open_rows
from shared.validation.lines import Unreadable
from shared.validation.names import FewNames
from shared.validation.recipes import ReadRecipe
from shared.validation.rows import ParsedRow, read_row
from shared.validation.setting_errors import nearest_name

_ROWS_OF_KIND = {
    "chat": "questions with answers",
    "text": "plain text",
    "preference": "preference pairs",
    "reinforcement": "prompts with fields for a grader",
}
_KINDS_OF_METHOD = {"supervised": ("chat", "text"), "dpo": ("preference",), "reinforcement": ("reinforcement",)}


class ReadRow(NamedTuple):
    """A row without errors. `is_chat`: it ends with an answer to learn, which pairs and prompts do not."""

    place: Place
    row: ParsedRow
    is_chat: bool


class RowReader:
    """Problems go to `findings`. `splits`: held-out rows are a share of the training rows."""

    def __init__(self, findings: Findings, recipe: ReadRecipe, *, named_table: bool, splits: bool) -> None:
        self._findings, self._recipe, self._method_known = findings, recipe.assumed, recipe.knows("method", "type")
        self._named_table, self._splits = named_table, splits
        self._used = used_fields(self._recipe)
        self.rows_read = {"train": 0, "eval": 0, "previous": 0}  # blank lines not counted
        self.unread: set[str] = set()  # files that could not be read to their end: how many rows they have is not known
        self.form: Format | None = None  # of the training file, as `container`
        self.container = "jsonl"

    def rows(self, chunks: Iterable[bytes], file: str) -> Iterator[ReadRow]:
        """The rows of one file. `file`: train, eval or previous."""

        def note(code: str, row: int | None, offset: int, detail: str = "") -> None:
            self._findings.add(code, file, row, offset, detail=detail)

        intake = open_rows(chunks, self._expected(file), note)
        if file == "train":
            self.form, self.container = intake.form, intake.container
        if self._is_unknown(intake, file):
            self.unread.add(file)
            return
        try:
            yield from self._read(intake, file)
        except Unreadable as error:
            self._findings.add(error.code, file, detail=error.detail)
            self.unread.add(file)
        if not self.rows_read[file] and file not in self.unread:
            self._findings.add("empty_dataset", file)

    def _expected(self, file: str) -> ExpectedRows:
        prompts = self._method_known and isinstance(self._recipe.method, Reinforcement)
        if file == "previous":
            return ExpectedRows(prompts=prompts)
        data = self._recipe.data
        is_table = self._named_table and file == "train"
        named = "auto" if (data.format, file) == ("text", "eval") else data.format  # text is evaluated by questions
        return ExpectedRows(named, known_names(data.columns), prompts, is_table, data.encoding or "")

    def _is_unknown(self, intake: Intake, file: str) -> bool:
        """Whether no row would be read as its author meant it, which is then one finding."""
        found = ", ".join(intake.found) or "none"
        # A held-out file may have another format than the training file.
        own_format = file != "train" and len(intake.missing) == len(self._recipe.data.columns)
        if intake.missing and not own_format:
            for name in intake.missing:
                detail = f"{_hinted(name, nearest_name(name, intake.found))}; the fields found are {found}"
                self._findings.add("column_missing", "recipe", detail=detail)
            return True
        if intake.form is None and intake.found and self._recipe.data.format != "auto":
            rows = f"of {intake.other}" if intake.other else f"of no known format; the fields found are {found}"
            detail = f"{self._recipe.data.format}, and the rows have the shape {rows}"
            self._findings.add("other_format", "recipe", detail=detail)
            return True
        if intake.form is None and intake.found:
            names = " and ".join(f"{own} to {known}" for own, known in intake.misspelled.items())
            near = f"Rename {names}, if that is meant. {NAME_COLUMNS}" if names else NAME_COLUMNS
            remedy = next((FOREIGN[name] for name in intake.found if name in FOREIGN), near)
            self._findings.add_many("unknown_format", file, found, 1, remedy=remedy)
            return True
        return False

    def _fits_method(self, intake: Intake, file: str) -> bool:
        method, kind = self._recipe.method.type, (intake.form or CHAT).kind
        if self._method_known and kind not in _KINDS_OF_METHOD[method]:
            detail = f"{_ROWS_OF_KIND[kind]}, and method.type is {method}"
            self._findings.add("method_data_mismatch", file, detail=detail)
            return False
        if self._method_known and kind == "text":
            self._note_text(intake, file, evaluated=self._splits or file == "eval")
        return True

    def _note_text(self, intake: Intake, file: str, *, evaluated: bool) -> None:
        """Plain text asks nothing; and with a label beside it, it may have been meant as a question."""
        is_auto = self._recipe.data.format == "auto"
        labels = labels_of(name for name in intake.found if is_auto and name not in intake.verdicts)
        if intake.other and is_auto:
            self._findings.add("chat_as_text", file)
        elif labels:
            own = next((name for name, part in (intake.form or CHAT).mapping.items() if part == "text"), "text")
            remedy = f"data: {{columns: {{{own}: user, {labels[0]}: assistant}}}}"
            code = "text_with_labels" if evaluated else "labels_not_learned"
            self._findings.add_many(code, file, " and ".join(labels), 1, remedy=remedy)
        elif evaluated:
            self._findings.add("text_not_evaluable", file)

    def _read(self, intake: Intake, file: str) -> Iterator[ReadRow]:
        add = self._findings.add
        form = intake.form or CHAT
        is_chat = form.kind == "chat"
        few = FewNames()
        evaluated = file == "eval" or self._splits
        fits = intake.form is None or self._fits_method(intake, file)
        fields = needed_fields(self._recipe, evaluated=evaluated, splits=self._splits) if fits else []
        others = [name for name in intake.found if name not in self._used.names]
        meant = {name: nearest_name(name, others) for _, name in fields if name not in intake.found}
        used = self._used._replace(names=self._used.names.union(meant.values()))
        notes = FieldNotes(used, learned=form.kind in ("chat", "preference"))
        needed = [(code, _hinted(name, meant.get(name, "")), name) for code, name in fields]
        graded = (name for code, _, name in needed if code == "grader_field_missing")
        unseen = {name for name in graded if name.partition(".")[0] in self._used.replaced}  # `item.answer.part`
        names = evaluated and self._recipe.evaluation.pairs
        masks = [Absent(name="pairs", terms=(f"{{{{item.{PAIR_NAME}}}}}",))] if names else []
        faults = row_check([*_graders(self._recipe, evaluated=evaluated), *masks] if fits else [])
        broken = 0
        for number, offset, line in intake.lines:
            self.rows_read[file] += 1
            row, codes = read_row(line, form, self._used.names)
            for found in sorted(codes) if codes else ():
                code, detail, part = (*found.split("|", 2), "", "")[:3]
                name = few(detail) if code in ("ignored_field", "media_named") else detail
                add(code, file, number, offset, detail=name, part=part)
                self.rows_read[file] -= code == "blank_line"
                broken += code == "invalid_json"
            if row is not None:
                if row.item:
                    notes.add(number, row.item, row.messages, has_answer=is_chat)
                for code, words, name in needed:
                    if code != "slice_field_missing":
                        if name in unseen or is_missing(row.item, name):
                            add(code, file, number, offset, detail=words)
                    elif (value := value_at(row.item, name, needed)) is needed:
                        add(code, file, number, offset, detail=words)
                    elif wrong := why_no_slice(value):
                        add("slice_value", file, number, offset, detail=f"{name} is {wrong}")
                answer = {"answer": row.messages[-1].get("content") or ""} if is_chat and row.messages else {}
                for fault in faults(row.item | answer):
                    add("grader_field_value", file, number, offset, detail=fault)
                yield ReadRow(Place(file, number, offset), row, is_chat)
        if broken and broken == self.rows_read[file]:
            self.unread.add(file)
        if fits:
            notes.report(self._findings, file, intake.container, form.mapping)


def _hinted(name: str, near: str) -> str:
    return f"{name} (did you mean {near}?)" if near else name


def needed_fields(recipe: Recipe, *, evaluated: bool, splits: bool) -> list[tuple[str, str]]:
    """(code if missing, field) that a file's rows are read for. `evaluated`: they may be held out."""
    read = fields(_graders(recipe, evaluated=evaluated)) - replaced_fields(recipe)
    needed = [("grader_field_missing", name) for name in sorted(read)]
    if evaluated:
        needed += [("slice_field_missing", name) for name in recipe.evaluation.slices]
    if splits and recipe.data.split_group is not None:
        needed.append(("split_group_field_missing", recipe.data.split_group))
    return list(dict.fromkeys(needed))


def _graders(recipe: Recipe, *, evaluated: bool) -> Sequence[Grader]:
    """Those that read a file's rows."""
    rewards = recipe.method.graders if isinstance(recipe.method, Reinforcement) else ()
    return [*rewards, *(recipe.evaluation.graders if evaluated else ())]
