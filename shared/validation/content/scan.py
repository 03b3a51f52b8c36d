"""The scan of the text of rows: personal data, secrets, manipulation, quality. One object for a whole dataset."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from shared.domain.findings import Findings, Place, counted
from shared.domain.recipe import Data
from shared.validation.content.damage import DAMAGED, UNFILLED, CutAnswers, finding_of
from shared.validation.content.languages import Languages
from shared.validation.content.near_duplicates import INDEXED_ROWS_BITS, Index, Sketch
from shared.validation.content.personal_patterns import DateScope
from shared.validation.content.quality import LOOK_UP_SHARE, MIN_ROWS, Quality, RowKind, differences
from shared.validation.content.row_scan import ROW_WITH_DATES, Dialogue, Found, RowDocument, RowScan

CONTRADICTIONS_SHOWN = 20
MAX_CLUSTERS = 10_000  # groups of near duplicates that are told apart
UNDECIDED: DateScope = "undecided"
MIN_CLINICAL_ROWS = 5


def file_is_clinical(rows: Mapping[str, int]) -> bool:
    """Whether undecided dates are of the clinic, by the number of rows with dates of each `DateScope`: hardly any of
    the others is not, and at least half of the rows say so themselves. The order of rows makes no difference."""
    clinical = rows.get("clinical", 0)
    return clinical >= max(MIN_CLINICAL_ROWS, 9 * rows.get("other", 0), rows.get(UNDECIDED, 0))


class ContentScan:
    """Give it every row, the held-out file first, then call `finish`. Memory: about 17 MB for each part, 200 bytes for
    each prompt (at most 262,144), 100 for each value that was redacted (at most 200,000 of a kind). `indexed_rows_bits`
    sets how many rows near duplicates are sought in."""

    def __init__(self, findings: Findings, policy: Data = Data(), indexed_rows_bits: int = INDEXED_ROWS_BITS) -> None:
        self._findings = findings
        self.rows = RowScan(policy)
        self._bits = indexed_rows_bits
        self._rows: Counter[str] = Counter()  # by file
        self._dated: Counter[str] = Counter()  # rows with dates by `DateScope`
        self._unfilled: dict[str, str] = {}  # the first place of a file that nothing filled in
        self._indexes: dict[str, Index] = {}
        self._clusters = defaultdict[str, Counter[int]](Counter)  # of a file: further rows like each first one
        self.quality = Quality()
        self._cut = CutAnswers()
        self.kinds = {"train": Counter[RowKind](), "eval": Counter[RowKind]()}
        self.languages = Languages()
        self.contradictions: list[tuple[int, int]] = []  # rows that ask the same and answer otherwise

    def read(self, place: Place, document: RowDocument) -> RowDocument:
        """Take a row in canonical form. Returns it, redacted if the policy requires it; field names are left alone."""
        found, read = self.rows.find(document)
        self.note(place, found)
        return read

    def note(self, place: Place, found: Iterable[Found]) -> None:
        """Take what was found in a row, as `RowScan.find` has it."""
        for code, detail, *part in found:
            if code == ROW_WITH_DATES:
                self._dated[detail] += 1
                if detail != UNDECIDED:
                    continue
                code = "clinical_date"
            kind, _, unfilled = detail.partition(":") if code == DAMAGED else (detail, "", "")
            if unfilled:
                self._unfilled.setdefault(place.file, unfilled)
            self._findings.add(code, *place, detail=kind, part="".join(part))

    def place(self, place: Place, dialogue: Dialogue | None, tag: int) -> Sketch | None:
        """Take `RowScan.dialogue` of a row; its sketch. `tag`: 64 bits, equal for the same content."""
        self._rows[place.file] += 1
        if dialogue is None:
            return None
        held_out = place.file == "eval"
        number = place.number
        self._find_near(place, dialogue.sketch, number, tag)
        if not held_out:
            self.languages.add(number, dialogue.language)
        if dialogue.length and not held_out:
            self._cut.lengths[dialogue.length] += 1
            if dialogue.end:
                self._cut.add(number, dialogue.length, dialogue.end)
        if dialogue.read_key is not None:
            read_key, answer_key = dialogue.read_key, dialogue.answer_key
            earlier = self.quality.add(number, dialogue.asks_for_fact, read_key, answer_key, dialogue.characters)
            if earlier is not None:
                self._findings.add("contradictory_answers", *place)
                if len(self.contradictions) < CONTRADICTIONS_SHOWN and number > 0 and earlier > 0:
                    self.contradictions.append((earlier, number))
        return dialogue.sketch

    def _find_near(self, place: Place, row: Sketch, number: int, tag: int) -> None:
        held_out = place.file == "eval"
        overlap = None if held_out or "eval" not in self._indexes else self._indexes["eval"].match(row)
        if overlap and overlap.tag != tag:  # equal ones are sought exactly, and elsewhere
            self._findings.add("train_eval_same_words" if overlap.exact else "train_eval_near_duplicate", *place)
        if place.part not in self._indexes:
            self._indexes[place.part] = Index(self._bits)
        index = self._indexes[place.part]
        copy = index.match(row)
        index.add(row, copy.leader if copy else number, tag)
        if copy and not copy.exact:
            sizes = self._clusters[place.file]
            if copy.leader in sizes or len(sizes) < MAX_CLUSTERS:
                sizes[copy.leader] += 1
            self._findings.add("near_duplicate", *place, part=f"like row {copy.leader}" if copy.leader > 0 else "")

    def finish(self, *, classifies: bool = False, few_labels: bool = False) -> None:
        """Note what only the rows as a whole show. `classifies`: the answers are labels, `few_labels`: beyond doubt."""
        by_others = ("clinical_date", "as most other rows with dates show, not the row itself", "")
        for file in ("previous", "train", "eval"):
            self._findings.replace(
                "clinical_date", file, UNDECIDED, by_others if file_is_clinical(self._dated) else None
            )
        for file, sizes in self._clusters.items():
            detail = f"{counted(len(sizes), 'group')}, the largest of {max(sizes.values()) + 1} rows"
            self._findings.replace("near_duplicate", file, "", ("near_duplicate", detail, ""))
        for file, kind, count in self._findings.counts(DAMAGED):
            more = f":{self._unfilled[file]}" if kind == UNFILLED else ""
            by = finding_of(kind + more, count, self._rows[file], labels=few_labels)
            self._findings.replace(DAMAGED, file, kind, by)
        for kind, count, rows in self._cut.found():
            if by := finding_of(kind, count, self._rows["train"] + self._rows["previous"], labels=few_labels):
                self._findings.add_many(by[0], "train", by[1], count, (row for row in rows if row > 0), remedy=by[2])
        if differing := list(differences(*self.kinds.values())):
            self._findings.add("eval_differs", "eval", detail="; ".join(differing))
        for language, count, first in self.languages.other_languages():
            self._note("unexpected_language", f"{counted(count, 'row')} in {language}", count, first)
        quality = self.quality
        if quality.rows >= MIN_ROWS and quality.look_up_share >= LOOK_UP_SHARE and not classifies:
            share = quality.look_up_share
            self._note("fact_lookup", f"{round(100 * share)} %", round(share * quality.rows), quality.look_up_rows)
        count, far = quality.outliers()
        if count:
            self._note("length_outlier", f"{quality.median_characters} characters", count, far)

    def _note(self, code: str, detail: str, count: int, rows: Iterable[int] = ()) -> None:
        self._findings.add_many(code, "train", detail, count, (row for row in rows if row > 0))
