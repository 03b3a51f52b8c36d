"""What validation found in a dataset, and the immutable version a run trains on."""

from typing import Literal

from pydantic import Field

from shared.domain.model import Frozen
from shared.domain.policy import PolicyInForce
from shared.domain.recipe import Deidentify, Recipe
from shared.domain.tokens import Histogram, TokenStatistics


class DatasetRef(Frozen):
    """The blob that was dropped, pinned. `path` is `datasets/<project>/<name>`."""

    path: str
    etag: str
    size_bytes: int
    sha256: str


class Beside(Frozen):
    """What lay beside a dataset when it was received and decides its run too, pinned."""

    recipes: tuple[DatasetRef, ...] = ()
    held_out: DatasetRef | None = None
    default_base_model: str = Field(description="of a recipe that names none")

    @property
    def files(self) -> tuple[DatasetRef, ...]:
        return (*([self.held_out] if self.held_out else []), *self.recipes)


class ProblemGroup(Frozen):
    """One kind of problem: how often, in which rows (1-based, a sample), and what to do."""

    code: str
    severity: str = Field(description="error or warning; one error rejects the dataset")
    count: int
    file: str = Field(
        description="train, eval, recipe, or previous (rows of the version that new ones are appended to)"
    )
    rows: tuple[int, ...] = Field(description="first rows affected, at most 20; empty if not about a row")
    offsets: tuple[int, ...] = Field(
        default=(), description="of those rows in the file, decompressed, from 0, in bytes"
    )
    parts: tuple[str, ...] = Field(
        default=(), description="of those rows the field that is wrong (messages[2].content), or the row they are like"
    )
    message: str
    fix: str


class Statistics(Frozen):
    """Counts over the rows that are kept, of both files."""

    train_rows: int = 0
    eval_rows: int = 0
    messages_mean: float = 0.0
    characters_mean: float = 0.0
    characters_max: int = 0
    extra_bytes_mean: float = Field(default=0.0, description="of a row in UTF-8, beyond one for each character")
    messages_per_row: Histogram = Histogram()
    characters_per_row: Histogram = Histogram()
    languages: dict[str, int] = Field(
        default_factory=dict, description="training rows by ISO 639 code, mixed or unknown"
    )


class ValueCount(Frozen):
    """How many rows have one label, or one value of a field."""

    value: str = Field(description="empty where fewer than 5 rows have it, or where it holds personal data")
    train_rows: int = Field(description="of a field: of the training file, before rows were split off")
    eval_rows: int | None = Field(default=None, description="held-out rows; null of a field")
    rows: tuple[int, ...] = Field(default=(), description="the first 3 in the training file")


class Category(Frozen):
    """A row field that sorts the rows into few kinds, such as an intent."""

    field: str
    values: tuple[ValueCount, ...] = Field(description="most rows first, 50 at most")


class Ignored(Frozen):
    """What is in the file and is neither learned nor used."""

    what: str
    rows: int


class Outliers(Frozen):
    """Rows whose length is far from the median row's."""

    count: int = 0
    rows: tuple[int, ...] = Field(default=(), description="the most extreme, 20 at most")


class QuestionDistance(Frozen):
    """Of held-out questions to training questions, in words. Of many rows a sample is compared, always the same."""

    train_questions: int
    eval_questions: int
    similarity: tuple[float, ...] = Field(
        description="to the nearest, 1 - edits / words of the longer: 10th percentile, median, 90th"
    )
    known_words: float = Field(description="share of held-out questions without a word that no training question has")
    recombined: float = Field(description="share of those with at most 3 words, and half, other than in the nearest")


class DataQuality(Frozen):
    """What a person who knows the subject looks at. The other findings are in `problems`."""

    labels: tuple[ValueCount, ...] = Field(
        default=(), description="if the answers are labels: most rows first, 50 at most"
    )
    ignored: tuple[Ignored, ...] = ()
    labels_count: int = Field(default=0, description="different labels that two rows or more give")
    categories: tuple[Category, ...] = ()
    contradictions: tuple[tuple[int, int], ...] = Field(
        default=(), description="the first 20 pairs of rows that ask the same and answer otherwise"
    )
    characters_median: int = Field(default=0, description="of all that the model reads and learns, to within 5 %")
    long: Outliers = Outliers()
    short: Outliers = Outliers()
    distance: QuestionDistance | None = Field(default=None, description="where both files have questions")


class Plan(Frozen):
    """What a run with this data would be, in short."""

    n_epochs: int
    total_steps: int
    rows_per_step: int
    max_length_tokens: int
    tokens_per_step: int = Field(
        description="of the mean row; estimated from characters, bytes and messages where tokens were not counted"
    )
    training_instance_type: str
    low_usd: float
    high_usd: float
    low_hours: float
    high_hours: float
    smallest_gain: float | None = Field(
        default=None,
        description="that the held-out rows show in 4 of 5 cases, if answers are right or wrong, half of each",
    )


class Report(Frozen):
    """`report.json` of a run: everything wrong with data and recipe, in one pass."""

    passed: bool
    format: str = Field(
        description="chat, prompt_completion, alpaca, sharegpt, text, preference, reinforcement or unknown"
    )
    container: str = Field(default="jsonl", description="jsonl, json (an array), csv, xlsx, parquet or arrow")
    mapping: dict[str, str] = Field(
        default_factory=dict, description="field of the file -> what it was read as; the other fields went to `item`"
    )
    problems: tuple[ProblemGroup, ...] = ()
    policy: PolicyInForce | None = Field(default=None, description="the platform's, which the recipe was checked by")
    statistics: Statistics = Statistics()
    tokens: TokenStatistics | None = Field(default=None, description="where the base model's tokenizer was at hand")
    plan: Plan | None = Field(default=None, description="where data and recipe allow a run")
    quality: DataQuality = DataQuality()
    eval_source: str = Field(
        description="file (the project's held-out file) or split (a seeded share of the training rows)"
    )
    not_searched_for: tuple[str, ...] = Field(
        default=(), description="kinds of personal data that data.deidentify did not search for and may be in the rows"
    )


class Policy(Frozen):
    """What decided which row went where, and what was done to its text."""

    eval_source: str = "file"
    validation_split: float | None = Field(
        default=None, description="share of the rows that was held out; null with a held-out file"
    )
    split_group: str | None = Field(default=None, description="row field whose equal values are all in one file")
    seed: int | None = None
    near_duplicates: Literal["grouped", "split"] | None = Field(
        default=None,
        description="grouped: near duplicates are all in one of the two files; split: that would have held out too few",
    )
    over_length: str = "reject"
    personal_data: str = "block"
    personal_data_allowed: tuple[str, ...] = ()
    deidentify: Deidentify | None = None
    secrets: str = "block"
    harmful_content: str = Field(default="allow", description="of earlier versions: not looked for")
    harmful_content_allowed: tuple[str, ...] = ()


class CuratedVersion(Frozen):
    """`curated/<project>/<version>/`: train.jsonl, eval.jsonl, manifest.json (this), report.json. `version` is the
    SHA-256 over the SHA-256 of train.jsonl followed by that of eval.jsonl."""

    project: str
    version: str
    source: DatasetRef
    train_rows: int
    eval_rows: int
    characters_max: int
    eval_sha256: str = Field(
        default="", description="of its rows' prompts and answers, in any order; empty in earlier versions"
    )
    tokenizer_sha256: str | None = Field(default=None, description="tokenizer and chat template that counted")
    tokens_max: int | None = Field(default=None, description="of the longest kept row of either file")
    rows_read: int = Field(default=0, description="of both files, blank lines not counted")
    rows_dropped: int = Field(default=0, description="read and in neither file of the version")
    format: str = "chat"
    container: str = "jsonl"
    policy: Policy = Policy()
    appended_to: str | None = Field(default=None, description="version whose rows come first (data.mode: append)")
    rows_appended_to: int = Field(default=0, description="rows read of that version; part of rows_read")
    validator: str = Field(default="", description="version of the code that read the rows")

    @property
    def held_out(self) -> str:
        """What tells the held-out rows from others of the project."""
        return self.eval_sha256 or self.version

    @property
    def files_of_rows(self) -> tuple[str, ...]:
        """The files whose rows were dropped to be trained on: held-out ones too, if they were split off."""
        return ("train.jsonl", "eval.jsonl") if self.policy.eval_source == "split" else ("train.jsonl",)


class ValidationOutcome(Frozen):
    """`validation/outcome.json` of a run, of the validation job. `recipe` if it is valid, `curated` if all passed."""

    report: Report
    sha256: str = Field(default="", description="of what it read: data, held-out rows, recipe; with commas")
    recipe: Recipe | None = None
    curated: CuratedVersion | None = None
