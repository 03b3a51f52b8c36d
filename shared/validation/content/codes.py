"""Every problem the content scan can report, in the style of `shared.validation.codes`."""

from __future__ import annotations

from shared.validation.codes import Code


def _error(message: str, fix: str) -> Code:
    return Code("error", message, fix)


def _warning(message: str, fix: str) -> Code:
    return Code("warning", message, fix)


# `{detail}` is a kind of data or a number, never text of a row. `count` counts rows unless the message says otherwise.
CONTENT_CODES: dict[str, Code] = {
    # Personal data and secrets.
    "personal_data": _error(
        "Rows hold personal data: {detail}.",
        "Remove it, let it be replaced by placeholders (data.personal_data: redact), or allow it after a review.",
    ),
    "personal_data_redacted": _warning(
        "Rows held personal data, which was replaced by placeholders: {detail}.",
        "Read a few of the rows: names and postal addresses are not recognised and are still there.",
    ),
    "personal_data_allowed": _warning(
        "Rows hold personal data, and the recipe allows it: {detail}.",
        "Keep the reason with the project; a tuned model can repeat what it was trained on.",
    ),
    "clinical_date": _warning(
        "Rows hold full dates in clinical text: {detail}. A date alone names nobody, so it does not block.",
        "Replace them (data.personal_data: redact), or shift all dates of a person by the same number of days.",
    ),
    "secret": _error(
        "Rows hold what looks like a key, a token or a password: {detail}.",
        "Remove it from the data and renew it where it is used: it has left its place.",
    ),
    "secret_allowed": _warning(
        "Rows hold what looks like a key, a token or a password, and the recipe allows it: {detail}.",
        "Make sure that none of them opens anything.",
    ),
    # Signs of manipulation.
    "hidden_characters": _warning(
        "Rows hold invisible or direction-changing characters inside words: a reader sees other text than the model.",
        "Remove them; if they came with copied web pages, paste as plain text.",
    ),
    "look_alike_letters": _warning(
        "Rows mix letters of another alphabet that look like Latin ones into Latin words.",
        "Write the words in one alphabet; ask where the rows come from.",
    ),
    "control_tokens": _warning(
        "Rows hold control tokens of a chat template in their text, which can end a turn early or forge one.",
        "Remove them, or break them up with a space, unless the task is about them.",
    ),
    "encoded_blob": _warning(
        "Rows hold long encoded blocks (base64), which teach nothing and can hide anything.",
        "Decode the text that matters, and remove the rest.",
    ),
    "instruction_override": _warning(
        "Rows hold phrases that try to override instructions ('ignore the previous instructions').",
        "Check the rows: they belong in a dataset only as examples of what to refuse.",
    ),
    "repeated_trigger": _warning(
        "An odd token stands in rows that are otherwise unlike and always brings the same answer: {detail}.",
        "Look at the rows: it may be a product code, or a hidden trigger that somebody planted.",
    ),
    # Quality of the whole.
    "near_duplicate": _warning(
        "Rows say nearly the same as an earlier row: {detail}.",
        "Keep one or two of each group, or make sure that the repetition is meant.",
    ),
    "holdout_same_words": _error(
        "Rows have the same words as a held-out row, so the evaluation would prove nothing.",
        "Remove them from one of the two files.",
    ),
    "holdout_near_overlap": _warning(
        "Rows say nearly the same as a held-out row, so the evaluation looks better than it is.",
        "Keep all variants of a text in one of the two files.",
    ),
    "contradictory_answers": _warning(
        "Rows give another answer than an earlier row that asks exactly the same.",
        "Decide which answer is right; the model would learn to guess.",
    ),
    "label_imbalance": _warning(
        "The rows have few different answers, like labels, and one of them makes up {detail} of all.",
        "Add rows of the other labels, or the model learns to always say the frequent one.",
    ),
    "rare_label": _warning(
        "The rows have few different answers, like labels, and {detail}.",
        "Add rows of these labels, or leave the labels out.",
    ),
    "look_up_facts": _warning(
        "{detail} of the rows ask for one fact and answer it shortly, each with another fact: that is looking up.",
        "Tuning teaches how to answer, not facts: give documents with the question (retrieval), tune on using them.",
    ),
    "length_outlier": _warning(
        "Rows are more than ten times as long as the median row ({detail}).",
        "Check for rows that were glued together; long rows are cut or dropped by data.over_length.",
    ),
}
