// Who gets which events: a table of the first page, with a button that sends a test.

import { Refused, call } from "./api.js";
import { h, running } from "./dom.js";

// Filled when the API has answered; it stays empty where there are none, or none that the caller may see.
export function subscriptions() {
  const box = h("section", { id: "subscriptions", "aria-label": "Subscriptions" });
  call("/api/subscriptions")
    .then(({ body }) => body.data.length && box.replaceChildren(h("h2", {}, "Subscriptions"), table(body.data)))
    .catch(() => {}); // the list of runs says that the API does not answer, or asks for a token
  return box;
}

function table(found) {
  const heads = ["Name", "Project", "Target", "State", "Last delivery", "Test"];
  return h(
    "table",
    {},
    h("thead", {}, h("tr", {}, ...heads.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, ...found.map(row)),
  );
}

function row(one) {
  const { last } = one;
  return h(
    "tr",
    { "data-id": one.id },
    h("th", { scope: "row" }, one.name),
    h("td", {}, one.project ?? "all"),
    h("td", {}, `${one.target.type} ${one.target.url}`),
    h("td", {}, one.disabled ? `disabled: ${one.disabled.message}` : one.failing_since ? "failing" : "enabled"),
    h("td", {}, last ? [`${last.event.type.replace("droptune.", "")} ${last.state}, `, running("age", last.noted_at)] : "none"),
    h("td", {}, tester(one)),
  );
}

function tester(one) {
  const result = h("span", { role: "status" });
  const button = h("button", { type: "button" }, "Send a test");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const { body } = await call(`/api/subscriptions/${encodeURIComponent(one.id)}/test`, { method: "POST" });
      const words = [body.status, body.code].filter(Boolean).join(" ");
      result.textContent = ` ${words} in ${Math.round(body.ms)} ms`;
    } catch (error) {
      result.textContent = error instanceof Refused ? ` ${error.problem.message}` : " the API does not answer";
    }
    button.disabled = false;
  });
  return [button, result];
}
