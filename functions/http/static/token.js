// The form that asks for an access token.

import { token } from "./api.js";
import { h } from "./dom.js";

export function tokenForm(error, onGiven) {
  const given = Boolean(token.get());
  const field = h("input", {
    type: "password",
    name: "token",
    id: "token-field",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
  });
  const form = h(
    "form",
    {
      onsubmit: (event) => {
        event.preventDefault();
        const value = field.value.trim().replace(/^bearer\s+/i, "");
        if (!value) return;
        token.set(value);
        onGiven();
      },
    },
    h("label", { for: "token-field" }, "Access token"),
    field,
    h("button", { type: "submit" }, "Use it"),
  );
  return [
    h("h2", {}, "This API needs an Entra access token"),
    h(
      "p",
      {},
      given
        ? ["The token was refused: ", h("code", {}, error.problem.code), ", ", error.problem.message, "."]
        : "Paste a bearer token of the API\u2019s audience, with the app role reader (operator to cancel runs).",
    ),
    h(
      "p",
      { class: "quiet" },
      "For example from ",
      h("code", {}, "az account get-access-token --resource AUDIENCE --query accessToken -o tsv"),
      ". It is kept in this tab only and gone when the tab is closed.",
    ),
    form,
  ];
}
