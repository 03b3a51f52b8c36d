// Where a model answers, and how to ask it.

import { clock, h, pair, svg } from "./dom.js";

// In production: what the probes of its endpoint agree on.
function health(run, at) {
  if (at?.champion !== run.id || !at.health) return null;
  const { state, problem, since } = at.health;
  return pair("Health", [state, problem && ` (${problem.code}: ${problem.message})`, " since ", clock(since)]);
}

export function deployment(run, at) {
  const { endpoint, deployment: name, model, previous, traffic, scoring_uri: uri } = run.rollout;
  const share = (split) =>
    Object.keys(split).length
      ? h(
          "ul",
          { class: "traffic" },
          Object.entries(split).map(([each, percent]) =>
            h(
              "li",
              {},
              h("span", {}, each === name ? h("b", {}, each) : each),
              svg(
                "svg",
                { height: 8, width: "100%", "aria-hidden": "true" },
                svg("rect", { class: "back", width: "100%", height: 8, rx: 2 }),
                svg("rect", {
                  class: each === name ? "candidate" : "champion",
                  width: `${percent}%`,
                  height: 8,
                  rx: 2,
                }),
              ),
              h("span", { class: "number" }, `${percent} %`),
            ),
          ),
        )
      : "none";
  const parts = [
    h(
      "dl",
      { class: "pairs" },
      pair("Endpoint", h("code", {}, endpoint)),
      pair("Deployment", h("code", {}, name)),
      pair("Model", h("code", {}, model)),
      pair("Traffic", share(traffic)),
      Object.keys(previous).length ? pair("Before", share(previous)) : null,
      health(run, at),
    ),
  ];
  if (uri) parts.push(...curl(uri, run.project));
  return parts;
}

const quoted = (value) => `'${value.replaceAll("'", "'\\''")}'`;

function curl(uri, model) {
  // An endpoint forwards any path to its container; the scoring URI itself may end in /score.
  const url = `${uri.replace(/\/+$/, "").replace(/\/score$/, "")}/v1/chat/completions`;
  const body = JSON.stringify({ model, messages: [{ role: "user", content: "Your question" }] });
  const command = [
    `curl ${quoted(url)}`,
    '-H "Authorization: Bearer $TOKEN"',
    "-H 'Content-Type: application/json'",
    `-d ${quoted(body)}`,
  ].join(" \\\n  ");
  const copy = h(
    "button",
    {
      type: "button",
      onclick: async () => {
        try {
          await navigator.clipboard.writeText(command);
          copy.textContent = "Copied";
        } catch {
          copy.textContent = "Select the text";
        }
        setTimeout(() => {
          copy.textContent = "Copy";
        }, 2000);
      },
    },
    "Copy",
  );
  return [
    h("pre", { class: "command", tabindex: "0", "aria-label": "Command that asks the endpoint" }, command),
    h(
      "p",
      { class: "quiet" },
      copy,
      " TOKEN in Azure: ",
      h("code", {}, "az account get-access-token --resource https://ml.azure.com --query accessToken -o tsv"),
      "; of `make up`: ",
      h("code", {}, "cat .droptune/azure_ml/secret"),
      "; of a demo: ",
      h("code", {}, "cat .droptune/demo/azure_ml/secret"),
    ),
  ];
}
