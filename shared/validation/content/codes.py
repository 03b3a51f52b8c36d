"""Every problem the content scan can report, in the style of `shared.validation.codes`."""

from __future__ import annotations

from shared.domain.findings import ProblemCode, error, warning

# `{detail}` is a kind of data or a number, never text of a row. `count` counts rows unless the message states a unit.
CONTENT_CODES: dict[str, ProblemCode] = {
    # Personal data and secrets.
    "personal_data": error(
        "Rows hold personal data: {detail}.",
        "Remove it, let it be replaced by placeholders (data.personal_data: redact), or allow its kind after a review "
        "(data.personal_data_allowed).",
    ),
    "personal_data_redacted": warning(
        "Rows held personal data, which was replaced by placeholders: {detail}.",
        "Read a few of the rows: names and postal addresses are still there, unless data.deidentify searched for them.",
    ),
    "personal_data_allowed": warning(
        "Rows hold personal data, and the recipe allows it: {detail}.",
        "Keep the reason with the project; a tuned model can repeat what it was trained on.",
    ),
    "clinical_date": warning(
        "Rows hold full dates in clinical text: {detail}. A date alone identifies no person, so it does not block.",
        "Replace them (data.personal_data: redact), or shift all dates of a person by the same number of days.",
    ),
    "name": error(
        "Rows hold names or addresses: {detail}.",
        "Remove them, or let them be replaced by placeholders (data.deidentify: {policy: redact}).",
    ),
    "name_redacted": warning(
        "Rows held names or addresses, which were replaced by placeholders: {detail}.",
        "Read a few of the rows: some names are missed, and some words are taken for names.",
    ),
    "name_allowed": warning(
        "Rows hold names or addresses, and the recipe allows it: {detail}.",
        "Keep the reason with the project; a tuned model can repeat what it was trained on.",
    ),
    "name_model_missing": error(
        "data.deidentify is set, and the training image has no model that finds names.",
        "Build the image from training_job/Dockerfile, which installs it (on a laptop: make setup-names).",
    ),
    "name_not_searched": warning(
        "data.deidentify is set, and this check does not search for names: the validation job does.",
        "Drop the data: what the job finds is in the report of its run.",
    ),
    "secret": error(
        "Rows hold what looks like a key, a token or a password: {detail}.",
        "Remove it or let it be replaced (data.secrets: redact), and renew it where it is used: it has left its place.",
    ),
    "secret_redacted": warning(
        "Rows held what looks like a key, a token or a password, which was replaced by a placeholder: {detail}.",
        "Renew it where it is used: it has left its place.",
    ),
    "secret_allowed": warning(
        "Rows hold what looks like a key, a token or a password, and the recipe allows it: {detail}.",
        "Make sure that none of them opens anything.",
    ),
    # Signs of manipulation.
    "hidden_characters": warning(
        "Rows hold invisible or direction-changing characters inside words: a reader sees other text than the model.",
        "Remove them; if they came with copied web pages, paste as plain text.",
    ),
    "homoglyphs": warning(
        "Rows mix letters of another alphabet that look like Latin ones into Latin words.",
        "Write the words in one alphabet; ask where the rows come from.",
    ),
    "control_tokens": warning(
        "Rows hold control tokens of a chat template in their text, which can end a turn early or forge one.",
        "Remove them, or break them up with a space, unless the task is about them.",
    ),
    "encoded_blob": warning(
        "Rows hold long encoded blocks (base64), which teach nothing and can hide anything.",
        "Decode the text that matters, and remove the rest.",
    ),
    "media_placeholder": error(
        "Rows hold the placeholder of an image, sound or video (<image>, <audio>, <video>), which are not read.",
        "Describe them in words, or remove the placeholders if answers do not need them.",
    ),
    "prompt_injection": warning(
        "Rows hold phrases that try to override instructions ('ignore the previous instructions').",
        "Check the rows: they belong in a dataset only as examples of what to refuse.",
    ),
    "repeated_trigger": warning(
        "An odd token stands in rows that are otherwise unlike and always brings the same answer: {detail}.",
        "Look at the rows: it may be a product code, or a planted trigger.",
    ),
    # Quality of the whole.
    "near_duplicate": warning(
        "Rows say nearly the same as an earlier row: {detail}.",
        "Keep one or two of each group, or make sure that the repetition is meant.",
    ),
    "train_eval_same_words": error(
        "Rows have the words of a held-out row in other capitals or spacing, so the evaluation would prove nothing.",
        "Remove them from one of the two files.",
    ),
    "train_eval_near_duplicate": warning(
        "Rows say nearly the same as a held-out row, so the evaluation looks better than it is.",
        "Keep all variants of a text in one of the two files.",
    ),
    "contradictory_answers": warning(
        "Rows give another answer than an earlier row that asks exactly the same.",
        "Decide which answer is right; the model would learn to guess.",
    ),
    "label_imbalance": warning(
        "The rows have few different answers, like labels, and one of them makes up {detail} of all.",
        "Add rows of the other labels, or the model learns to always say the frequent one.",
    ),
    "rare_label": warning(
        "The rows have few different answers, like labels, and {detail}.",
        "Add rows of these labels, or leave the labels out.",
    ),
    "fact_lookup": warning(
        "{detail} of the rows ask for one fact and answer it shortly, each with another fact: that is looking up.",
        "Tuning teaches how to answer, not facts: give documents with the question (retrieval), tune on using them.",
    ),
    "unexpected_language": warning(
        "Nearly all rows are in one language, and a few in another: {detail}.",
        "Read them: a model answers in the language it learned from. Nothing is needed if they are meant.",
    ),
    "length_outlier": warning(
        "Rows are more than ten times as long as the median row ({detail}).",
        "Check for rows that were glued together; long rows are cut or dropped by data.over_length.",
    ),
}
