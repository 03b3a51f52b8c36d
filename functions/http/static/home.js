// What is shown while no run is chosen.

import { h } from "./dom.js";
import { subscriptions } from "./subscriptions.js";

export function home(empty) {
  return h(
    "div",
    { class: "empty" },
    h("h1", {}, empty ? "Drop a dataset to start a run" : "Choose a run"),
    h(
      "p",
      {},
      empty ? "A file put into the container " : "Or drop another dataset: a file put into the container ",
      h("code", {}, "datasets/PROJECT/"),
      " starts a run. A ",
      h("code", {}, "recipe.yaml"),
      " and an ",
      h("code", {}, "eval.jsonl"),
      " beside it are optional and come first.",
    ),
    h("pre", {}, "droptune drop train.jsonl --project my-project"),
    h("p", {}, "or"),
    h("pre", {}, `curl -T train.jsonl ${location.origin}/api/datasets/my-project/train.jsonl`),
    h(
      "p",
      { class: "quiet" },
      "A table with questions and answers, or JSON Lines, one row per line: ",
      h(
        "code",
        {},
        '{"messages": [{"role": "user", "content": "\u2026"}, {"role": "assistant", "content": "\u2026"}]}',
      ),
    ),
    subscriptions(),
  );
}
