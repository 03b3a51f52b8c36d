"""Every problem the validator can report, written once: severity, plain words, and what to do about it."""

from __future__ import annotations

from shared.domain.findings import ProblemCode, error, warning

MIN_ROWS = 10
FEW_ROWS = 50
MAX_ROW_BYTES = 3 * 2**20
MAX_DECOMPRESSED_BYTES = 16 * 2**30
MAX_RATIO = 600  # gzip reaches 300 where all rows are alike, and 1,030 of nothing but zeros
RATIO_FROM_BYTES = 64 * 2**20
MAX_WORKBOOK_BYTES = 512 * 2**20  # of XML; a workbook is held in memory
MAX_WORKBOOK_CELLS = 20_000_000  # a sheet's rows times its columns
MAX_RECIPE_BYTES = 64 * 2**10


CODES: dict[str, ProblemCode] = {
    # The file as a whole.
    "project_name": error(
        "The project name is not 3 to 32 lower-case letters, digits and dashes that start with a letter.",
        "Rename the folder, for example to claims-letters.",
    ),
    "no_project_folder": error(
        "The file lies in the root of the container, where no folder names a project; nothing of it was read.",
        "Put it into a folder named like the project, for example datasets/claims-letters/train.jsonl.",
    ),
    "several_recipes": error(
        "The folder has several recipes, and which one is meant is not clear: {detail}. The data was not read.",
        "Keep one, for example recipe.yaml, and drop the data again.",
    ),
    "held_out_files_unread": warning(
        "The folder has several held-out files, of which one is read: {detail} not.",
        "Nothing is needed if that is meant. Otherwise put all held-out rows into one file, for example eval.jsonl.",
    ),
    "empty_dataset": error("The file has no rows.", "Upload a file with at least 10 rows."),
    "not_utf8": error(
        "The file is not UTF-8 text: it is {detail}.",
        "Save the rows as JSON Lines or CSV, in UTF-8 (in Excel: CSV UTF-8; in PowerShell: -Encoding utf8).",
    ),
    "no_rows": error(
        "The first lines are neither JSON nor a table with the same number of cells in each line.",
        "Save the data as JSON Lines, one JSON object per line, as one JSON array of objects, or as CSV with a header.",
    ),
    "json_array_cut": error(
        "The JSON array does not end: the file is cut off, or a bracket or quotation mark in it is not closed.",
        "Upload it again and compare the sizes, or look for the place with: jq . FILE.",
    ),
    "json_array_more": error(
        "Something follows the end of the JSON array.",
        "Put all rows into one array, or write one object per line: jq -c '.[]'.",
    ),
    "lines_above_header": warning(
        "The names of the columns stand in {detail}; the rows above it were not read.",
        "Nothing is needed if these are a title and notes.",
    ),
    "wrapper_fields_unread": warning(
        "The file is one object around its rows, which are the list {detail}.",
        "Nothing is needed if that is meant. What every row should say belongs into the rows.",
    ),
    "unknown_format": error(
        "The rows have the shape of no known format; the fields found are {detail}.",
        "Say what the fields are in data.columns, for example {frage: user, antwort: assistant}, or rename them. Known "
        "are messages; conversations; prompt, question, instruction or input with completion, response, answer or "
        "output; chosen with rejected; text. A table needs a header.",
    ),
    "column_missing": error("data.columns names {detail}.", "Correct the name, or leave it out of data.columns."),
    "column_taken": error(
        "data.columns gives a field a name that another one has already: {detail}.",
        "Rename the other one in the file, or say in data.columns what it is.",
    ),
    "invalid_gzip": error(
        "The file is compressed with gzip, and the compressed data is damaged or cut off.",
        "Compress and upload it again; compare the sizes.",
    ),
    "invalid_zip": error("The zip archive cannot be read: {detail}.", "Upload the file in it without the archive."),
    "zip_files": error(
        "The zip archive holds {detail} files; one is expected.",
        "Upload the training file alone, and eval.jsonl beside it.",
    ),
    "invalid_columns": error(
        "The Parquet or Arrow file is damaged, cut off, or holds what JSON cannot.",
        "Write it again, or save the rows as JSON Lines.",
    ),
    "columns_need_job": error(
        "The file is Parquet or Arrow, and pyarrow, which reads it, is not installed here.",
        "Install pyarrow, or drop the file: a job validates it, which has pyarrow.",
    ),
    "invalid_workbook": error(
        "The Excel workbook cannot be read: {detail}.",
        "Save the sheet with the rows in Excel as a workbook (.xlsx) of its own, without a password, or as CSV UTF-8.",
    ),
    "workbook_sheets": error(
        "Several sheets of the workbook have rows, and which one is meant is not clear: {detail}.",
        "Keep one of them, for example train.xlsx with the training rows and eval.xlsx with the held-out rows.",
    ),
    "hidden_sheets": warning(
        "Hidden sheets of the workbook have rows, which were not read: {detail}.",
        "Nothing is needed if that is meant. Otherwise show the sheet in Excel, and hide or delete the other one.",
    ),
    "workbook_needs_job": error(
        "The file is an Excel workbook, and python-calamine, which reads it, is not installed here.",
        "Install python-calamine, save the sheet as CSV UTF-8, or drop the file: a job validates it, which has it.",
    ),
    "decompression_bomb": error(
        f"The file grows to more than {MAX_RATIO} times its size, or beyond "
        f"{MAX_DECOMPRESSED_BYTES // 2**30} GiB, when decompressed.",
        "Upload it uncompressed or in parts.",
    ),
    "too_few_rows": error(
        f"There are {{detail}} rows; fewer than {MIN_ROWS} teach nothing.",
        "Add rows: 50 show a style, 500 teach a task, 5,000 cover its exceptions.",
    ),
    "few_rows": warning(
        f"There are {{detail}} rows, fewer than {FEW_ROWS}.",
        "Expect a change of tone at most: 50 show a style, 500 teach a task, 5,000 cover its exceptions.",
    ),
    "no_eval_rows": error(
        "No row could be held out: all rows ask and answer the same, are of one group, or are of labels of one group.",
        "Add rows that differ, or a held-out file (eval.jsonl).",
    ),
    "near_duplicates_split": warning(
        "Rows are so much alike that keeping near duplicates together would hold out too few or too many rows, or "
        "leave a label in one split; they were separated: {detail}.",
        "Expect a score that flatters; a held-out file (eval.jsonl) of rows of another time or source tells more.",
    ),
    "same_question_split": warning(
        "Rows that ask the same, or of which one continues where another ends, could not be kept together without "
        "holding out too few or too many rows, or leaving a label in one split; they were separated: {detail}.",
        "Expect a score that flatters; a held-out file (eval.jsonl) of other questions tells more.",
    ),
    "held_out_share": warning(
        "{detail}.",
        "Nothing is needed if you agree. Otherwise add rows, bring a held-out file (eval.jsonl), or change "
        "data.validation_split, data.split_group or evaluation.gate.min_rows.",
    ),
    "few_eval_rows": error(
        "There are {detail}: it could never pass, and the tuned model would not be deployed.",
        "Add rows, bring a held-out file (eval.jsonl), raise data.validation_split, or lower evaluation.gate.min_rows.",
    ),
    "label_in_one_split": error(
        "The answers are labels, and some are in one split only: {detail}.",
        "Give rows of each label to both files; where data.split_group parts rows, add groups of these labels.",
    ),
    "label_not_held_out": warning(
        "The answers are labels, and some are in the training rows only: learned, and not evaluated: {detail}.",
        "Add rows of these labels: different ones, and of another group where data.split_group is set.",
    ),
    "method_data_mismatch": error(
        "The rows are {detail}.",
        "Set method.type: supervised for answers and plain text, dpo for preference pairs, reinforcement for prompts "
        "with fields for a grader.",
    ),
    "text_not_evaluable": error(
        "Plain text asks nothing, so held-out plain text cannot be evaluated.",
        "Add a held-out file (eval.jsonl) of questions and answers, on which the tuned model is evaluated.",
    ),
    "text_with_labels": error(
        "The file has texts, and {detail} beside each; it was read as plain text to be learned as it is, which asks "
        "nothing and so cannot be evaluated.",
        "If the model should answer with it, say so in the recipe: {remedy}. To learn the texts alone, add a held-out "
        "file (eval.jsonl) of questions and answers.",
    ),
    "labels_not_learned": warning(
        "The file has texts, and {detail} beside each; it was read as plain text, and only the text is learned.",
        "If the model should answer with it, say so in the recipe: {remedy}. Otherwise nothing is needed.",
    ),
    "csv_header": error(
        "The first line of the table does not name columns, or one name is empty or twice there.",
        "Start with a header such as prompt,completion.",
    ),
    # One row.
    "blank_line": warning("The line is blank and was skipped.", "Remove it; nothing else is needed."),
    "row_too_long": error(
        f"The row is longer than {MAX_ROW_BYTES // 2**20} MiB.",
        "Split it, or check for a missing line break.",
    ),
    "windows_1252": warning(
        "The record is not UTF-8 and was read as Windows-1252, as Excel writes it.",
        "Look at umlauts and accents in the preview, or save the file as CSV UTF-8.",
    ),
    "invalid_utf8": error("The row is not valid UTF-8.", "Save the file as UTF-8."),
    "null_character": error("The row holds a null character (U+0000).", "Remove it; it is not text."),
    "invalid_json": error(
        "The row is not valid JSON (NaN, Infinity, half a surrogate pair and deep nesting count as invalid).",
        "Write one complete JSON object per line, with no line breaks inside.",
    ),
    "byte_order_mark": error(
        "The row begins with a byte order mark; files with one were put together.",
        "Remove it: sed 's/\\xEF\\xBB\\xBF//'.",
    ),
    "duplicate_key": error(
        "A JSON object in the row has the same key twice.", "Keep one of them; readers differ on which wins."
    ),
    "number_out_of_range": error(
        "The row holds an integer beyond 64 bits, which readers round differently.", "Write it as text."
    ),
    "invalid_csv": error(
        "The record's quotation marks do not fit.", "Quote cells with line breaks; double quotes inside."
    ),
    "csv_columns": error(
        "The record has more or fewer cells than the header.", "Quote cells that hold the separator or a line break."
    ),
    "cell_without_value": error(
        "A cell of the row has an error such as #N/A, or a formula that was not computed.",
        "Correct it, and save the workbook in Excel, which computes all formulas.",
    ),
    "mixed_formats": error(
        "The row has the shape of another format than the first rows of the file.",
        "Put the rows of each format into a file of their own, or name one in data.format.",
    ),
    "missing_field": error(
        "The row lacks {detail}, which its format needs.",
        "Add the field, or name the format in data.format if another one was meant.",
    ),
    "mixed_names": error(
        "The row calls its question and answer otherwise than most rows: it has {detail}.",
        "Rename them, so that all rows have the same names; or put the rows of each kind into a file of their own.",
    ),
    "data_type": error(
        "A part of the row has the wrong type: {detail}.",
        "Write texts as text, messages as a list, and a row as one object.",
    ),
    "system_twice": error(
        "The row has two different system texts.",
        "Keep one: beside the messages (system, system_message, system_prompt) or as their first message.",
    ),
    "field_twice": error(
        "The row gives {detail} twice, and the two differ, so which one is meant is not clear.", "Keep one of the two."
    ),
    "tools_twice": error("The row describes tools in two places.", "Keep one of tools and functions."),
    "ignored_field": warning(
        "Nothing reads the field {detail}: it is neither learned nor used by a grader or a slice.",
        "Nothing is needed if that is meant. What the model should read belongs into the content of a message; "
        "data.columns names columns, and graders read {{item.FIELD}} beside the messages.",
    ),
    "passage_not_read": error(
        "The field {detail} holds text that no message has, so the model would learn to answer without it.",
        "Put it into the system or user message, or remove it. If only a grader needs it, name it there.",
    ),
    "choices_not_read": error(
        "The answers name a choice (such as A) of the field {detail}, which no message has, so the model would learn "
        "letters without reading what they stand for.",
        "Put the choices into the question, a line each; or give the text of the choice as the answer.",
    ),
    "media_not_read": error(
        "The row has images, audio or video ({detail}), which are not read.",
        "Describe them in words. If answers do not need them, remove the field and the placeholders in the text.",
    ),
    "media_named": warning(
        "The field {detail} names images, audio or video, which are not read, and no text has a placeholder for them.",
        "If an answer needs what they show or say, describe it in words; else nothing is needed.",
    ),
    "unpaired_preference": error(
        "The field {detail} marks these answers as bad, and every answer is learned; unpaired preferences (KTO) are no "
        "method.",
        "Keep {remedy}; or pair good and bad answers for dpo. If the field says something else, rename it, or name it "
        "in evaluation.slices.",
    ),
    "excluded_rows": error(
        "The field {detail} says that these rows are not to be trained on, and every row of the file is.",
        "Keep {remedy}. Rows for evaluation go into eval.jsonl; of a turn that is not learned the message has weight "
        "0. If the field says something else, rename it, or name it in evaluation.slices.",
    ),
    "marked_rows": warning(
        "The field {detail} may mark these rows as bad or as not to be trained on, and every row is learned.",
        "If it says so of the answer or the row, keep {remedy}. If it says something of the case, such as a refused "
        "claim, nothing is needed.",
    ),
    "rated_answers": warning(
        "The field {detail} holds grades, and all answers are learned alike.",
        "If it grades the answers, remove the rows with low ones: keep {remedy}.",
    ),
    "missing_messages_list": error(
        "The row has no `messages`, or it is empty.",
        "Write the dialogue as a list of {role, content} objects under `messages`.",
    ),
    "message_missing_key": error(
        "A message lacks `role`, or a tool message has no `tool_call_id` and no open call is of its `name`.",
        "Give each message a role, and each tool message the id of the call it answers, or its place right after it.",
    ),
    "unrecognized_role": error("A message has an unknown role.", "Use system, developer, user, assistant or tool."),
    "missing_content": error(
        "A message has no content, or nothing but white space and characters of no width; only an assistant message "
        "with tool_calls may go without.",
        "Add the text or remove the message.",
    ),
    "content_not_text": error(
        "The content of a message has parts other than text; only text is read.",
        "Describe images and sound in words, or remove the row.",
    ),
    "example_missing_assistant_message": error(
        "The row does not end with an assistant message, so there is nothing to learn or to compare.",
        "End `messages` with the answer the assistant should give.",
    ),
    "no_question": error(
        "The row has answers and nothing that they answer: no message of the user, a tool or the system.",
        'Add the question as a message of the user; write text that is to be learned whole as {"text": "..."}.',
    ),
    "no_user_message": warning(
        "The row has a system message and an answer, and no message of the user. Some chat templates refuse that.",
        "Give what is asked to the user, unless the model will be used without one.",
    ),
    "no_trainable_message": error(
        "Every assistant message has weight 0, so nothing is learned from the row.",
        "Give the answer weight 1, or leave the weight out.",
    ),
    "prompt_not_last": error(
        "The prompt's last message is neither the user's nor a tool's, so there is nothing for the model to answer.",
        "End it with the question; answers go into the outputs of a pair, what graders read goes beside `messages`.",
    ),
    "missing_output": error(
        "One of the two outputs of a preference pair is not there or empty.",
        "Give both answers, the better one as preferred_output (or chosen).",
    ),
    "invalid_output": error(
        "An output of a preference pair holds other than assistant and tool messages, or does not end with the "
        "assistant's.",
        "Put the question into `input`, and only the answer into each output.",
    ),
    "outputs_differ_in_question": error(
        "The two dialogues of a preference pair differ before their answers, so they answer different questions.",
        "Make them equal up to the last message of the user.",
    ),
    "equal_outputs": error(
        "The preferred and the other output are equal, so there is nothing to prefer.", "Remove the row."
    ),
    "invalid_weight": error(
        "The weight of a message (weight, train, trainable, loss_weight) is neither 0 nor 1, or two of them differ.",
        "Use 0, 1, or leave it out.",
    ),
    "weight_of_other_role": error(
        "A message that is not the assistant's is marked to be learned; only answers are.",
        "Remove the mark (train, trainable, loss_weight), or write the text as an answer.",
    ),
    "reasoning_not_read": error(
        "A message has {detail} beside its content; templates write it out differently, so it is not read.",
        "Remove it, or put it into the content in the form in which the model should write it.",
    ),
    "invalid_tool_calls": error(
        "`tool_calls` is not a list of {id, type: function, function: {name, arguments}}, or stands in a message that "
        "is not the assistant's.",
        "Write each call of the assistant in that form.",
    ),
    "tool_arguments_not_json": error(
        "The arguments of a tool call are not the JSON of an object.",
        'Write an object, or its JSON as text, for example "{\\"unit\\": 4}"; for a call without arguments "{}".',
    ),
    "tool_arguments_violate_schema": error(
        "The arguments of a tool call do not fit the parameters that `tools` defines for it, so the model would learn "
        "a call that fails.",
        "Correct names, types and required arguments, or the definition in `tools`; or give the message weight 0.",
    ),
    "tool_call_without_id": error(
        "A tool call has no `id`, so no result can be matched to it.",
        "Give each call an id, and its result the same one as `tool_call_id`.",
    ),
    "tool_call_id_twice": error(
        "Two tool calls that wait for results have the same `id`.", "Give each call an id of its own."
    ),
    "tool_call_id_reused": warning(
        "A tool call has the `id` of an earlier call of the row, which had its result already.",
        "Give each call an id of its own: readers differ on which of the two is meant.",
    ),
    "tool_call_unanswered": error(
        "A tool call has no result, and the dialogue continues: the model would learn to invent what the tool says.",
        "Add a tool message with this `tool_call_id` right after the call, or end the dialogue with the call.",
    ),
    "tool_result_late": error(
        "Another message stands between a tool call and its result.",
        "Put the results of all calls of a message right after it, before any other message.",
    ),
    "tool_result_twice": error("A tool call has two results.", "Keep one tool message for each `tool_call_id`."),
    "tool_message_orphan": error(
        "A tool message (ShareGPT: observation) answers no call: no message before it has a call with its id.",
        "Add the assistant's message with the call (ShareGPT: function_call), correct `tool_call_id`, or remove the "
        "message.",
    ),
    "tool_unknown": error(
        "A tool call names a function that `tools` does not define.",
        "Add it to `tools`, or correct the name; or give the message weight 0.",
    ),
    "tools_missing": warning(
        "The row has tool calls and no `tools`, so the model never reads what it can call.",
        "Add the definitions as `tools`, as they are given when the model is used; nothing if the system message has "
        "them.",
    ),
    "tool_schema_unreadable": warning(
        "The parameters of a tool in `tools` are not a JSON Schema that can be read, so arguments were not compared "
        "with it.",
        "Describe them as JSON Schema: {type: object, properties: {...}, required: [...]}.",
    ),
    "tool_defined_twice": error(
        "Two definitions in `tools` have one name and differ, so which one a call is of is not clear.",
        "Keep one, or give them names of their own.",
    ),
    "tool_defined_again": warning("A tool is defined twice, word for word, in `tools`.", "Keep one of the two."),
    "invalid_tools": error(
        "`tools` is not a list of {type: function, function: {name, ...}}.",
        "Describe each tool as OpenAI's chat format does.",
    ),
    "duplicate_row": warning(
        "The row is an exact copy of an earlier one; it is kept and weighs double.",
        "Remove copies unless the weight is meant.",
    ),
    "duplicate_row_dropped": warning(
        "The row is an exact copy of one that is there already, and was left out (data.mode: append).",
        "Nothing is needed.",
    ),
    "train_eval_overlap": error(
        "The row's question and answer, those of an earlier turn too, are also in the held-out file, so the evaluation "
        "would prove nothing.",
        "Remove the row from one of the two files.",
    ),
    "train_eval_same_question": warning(
        "The row asks what a held-out row asks: with another answer, or one of the two continues where the other ends.",
        "Keep all answers to one question, and all turns of one dialogue, in the same file.",
    ),
    "group_in_both_splits": error(
        "data.split_group keeps rows of the same {detail} in one split, and the held-out file has rows of the same.",
        "Move the rows of a group to one of the two files, or leave out data.split_group.",
    ),
    "grader_field_missing": error(
        "A grader reads item.{detail}, and held-out rows lack that field.",
        "Add the field to the rows (beside `messages`), or change the grader's template.",
    ),
    "slice_field_missing": error(
        "The evaluation slices by {detail}, and held-out rows lack that field.",
        "Add the field to the rows (beside `messages`), or remove the slice.",
    ),
    "slice_value": error(
        "A row cannot be sorted into a slice of the evaluation: {detail}.",
        "Write a short text, a number, true, false or null there, or leave out the field in evaluation.slices.",
    ),
    "too_many_slices": error(
        "The evaluation would have more than 100 slices, most of them values of {detail}: no slice could be shown to "
        "be worse.",
        "Slice by fields with few values, such as a category: leave out this one in evaluation.slices.",
    ),
    "split_group_field_missing": error(
        "Rows are held out by {detail}, and some lack that field.",
        "Add the field to the rows (beside `messages`), or leave out data.split_group.",
    ),
    # The recipe.
    "recipe_yaml": error(
        "recipe.yaml cannot be read: {detail}. The data was checked by the defaults.",
        "Write one YAML mapping, UTF-8, with each key once.",
    ),
    "recipe_unknown_key": error(
        "The recipe has no setting {detail}.",
        "Correct the key; docs/reference/recipe.md and GET /api/recipes/schema list all settings.",
    ),
    "recipe_value": error(
        "{detail}.",
        "Correct the value: docs/reference/recipe.md and GET /api/recipes/schema list what a setting takes. Until then "
        "the data is checked by its default, and by all other settings as they are.",
    ),
    "unknown_base_model": error("{detail}.", "Choose a base model of the catalog."),
    "license_denied": error("{detail}", "Choose a base model whose license allows the use."),
    "license_review": error("{detail}", "Choose a base model whose license was already reviewed."),
    "license_needs_use_case": error("{detail}.", "Fill in use_case in recipe.yaml."),
    "license_excluded_use": error("{detail}.", "Choose a base model whose license allows the use."),
    "exceeds_context": error("{detail}.", "Lower max_length_tokens or leave it out."),
    "does_not_fit": error("{detail}.", "Choose shorter rows, a smaller base model or another machine."),
    "unknown_instance_type": error("{detail}.", "Use auto or one of the machines listed."),
    "over_budget": error("{detail}.", "Raise budget.max_usd, or train on fewer rows or epochs."),
    "over_deadline": error("{detail}.", "Raise budget.deadline_hours, or train on fewer rows or epochs."),
}
