"""Findings that a setting decides on: where the recipe gives it wrongly, they may only follow from that."""

from __future__ import annotations

from shared.validation.recipes import ReadRecipe

_READING = """
unknown_format other_format column_missing column_taken csv_header empty_dataset data_type mixed_formats mixed_names
missing_field missing_messages_list missing_content missing_output method_data_mismatch text_not_evaluable
text_with_labels labels_not_learned example_missing_assistant_message prompt_not_last no_question no_user_message """
_FIELDS = """
ignored_field passage_not_read choices_not_read reasoning_not_read media_not_read media_named unpaired_preference
excluded_rows marked_rows rated_answers grader_field_missing slice_field_missing slice_value too_many_slices
split_group_field_missing """
_SPLIT = """
no_eval_rows few_eval_rows held_out_share near_duplicates_split same_question_split label_in_one_split
label_not_held_out group_in_both_splits """
_LENGTH = "too_many_tokens row_dropped row_truncated truncated_to_nothing no_row_left prompt_too_long"
_LICENSE = "unknown_base_model license_denied license_review license_needs_use_case license_excluded_use"
_PERSONAL = "personal_data personal_data_redacted personal_data_allowed clinical_date"

DECIDED_BY = {
    "base_model": _LICENSE + " tools_not_served prompt_too_long",
    "use_case": _LICENSE,
    "method.type": _READING + _FIELDS,
    "method.graders": _FIELDS,
    "method.hyperparameters.max_length_tokens": _LENGTH,
    "data.format": _READING + _FIELDS,
    "data.columns": _READING + _FIELDS,
    "data.over_length": _LENGTH,
    "data.personal_data": _PERSONAL,
    "data.personal_data_allowed": _PERSONAL,
    "data.deidentify": "name name_redacted name_allowed name_model_missing name_not_searched",
    "data.secrets": "secret secret_redacted secret_allowed",
    "data.mode": "too_few_rows few_rows duplicate_row duplicate_row_dropped" + _SPLIT,
    "data.validation_split": _SPLIT,
    "data.split_group": _FIELDS + _SPLIT,
    "evaluation.graders": _FIELDS + _SPLIT,
    "evaluation.max_new_tokens": "prompt_too_long",
    "evaluation.slices": _FIELDS,
    "evaluation.gate.min_rows": _SPLIT,
}


def consequences(recipe: ReadRecipe) -> frozenset[str]:
    """The codes of findings that may be there only because a setting is not known."""
    unknown = (codes for setting, codes in DECIDED_BY.items() if not recipe.knows(*setting.split(".")))
    return frozenset(code for codes in unknown for code in codes.split())
