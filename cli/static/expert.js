// One row at a time, decided by a key or a button. A row's text reaches the page through text nodes only.

// Characters that reorder or hide text are shown by number, as on the page of a run.
const HIDDEN =
  /([\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff])/u;
const REVIEW = { a: ["accepted", "Accept"], e: ["corrected", "Edit the answer"], r: ["rejected", "Reject"] };
const RATE = { a: ["A", "A is better"], b: ["B", "B is better"], t: ["tie", "Tie"], x: ["both_bad", "Both bad"] };
const ALWAYS = { s: ["skipped", "Skip"], u: ["undone", "Undo"] };
const QUESTIONS = { corrected: "The answer as it should be", rejected: "What is wrong with it" };

const at = (id) => document.getElementById(id);
let waiting = []; // ids, the row that is shown first
let history = []; // ids and decisions, the last at the end
let row = null;
let writing = ""; // the decision that the text is for
let busy = true;

function h(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

function text(value) {
  return String(value)
    .split(HIDDEN)
    .map((part, index) => {
      if (index % 2 === 0) return part;
      return h("span", "hidden-character", `U+${part.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`);
    });
}

const part = (kind, title, value) => h("section", kind, h("h2", "", title), h("p", "text", ...text(value)));
const written = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 1));

async function call(path, body) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, body ? options : {});
  const content = await response.json();
  if (response.ok) return content;
  throw new Error(typeof content?.detail === "string" ? content.detail : `the command answered ${response.status}`);
}

// One call at a time: a key that is held down decides one row.
async function alone(work) {
  if (busy) return;
  busy = true;
  try {
    await work();
    at("problem").textContent = "";
  } catch (error) {
    const gone = error instanceof TypeError;
    at("problem").textContent = gone ? "The command has ended. Start it again: it goes on here." : error.message;
  }
  busy = false;
}

const keys = () => ({ ...(row?.answers ? RATE : row ? REVIEW : {}), ...ALWAYS });

async function show() {
  const next = waiting.length ? await call(`rows/${waiting[0]}`) : null;
  row = next;
  const skipped = history.filter(([, decision]) => decision === "skipped").length;
  const [done, total] = [history.length - skipped, history.length + waiting.length];
  at("progress").textContent = `${done} of ${total}${skipped ? `, ${skipped} skipped` : ""}`;
  at("bar").max = Math.max(1, total);
  at("bar").value = done;
  at("row").replaceChildren(...(row ? sections() : [part("", "Done", ended(skipped))]));
  at("actions").replaceChildren(...Object.entries(keys()).map(button));
  write("");
  scrollTo(0, 0);
}

const ended = (skipped) =>
  skipped ? `${skipped} rows were skipped. Start the command again to see them.` : "Every row is decided.";

function sections() {
  const fields = Object.entries(row.fields ?? {});
  const pairs = fields.map(([name, value]) => [h("dt", "", ...text(name)), h("dd", "", ...text(written(value)))]);
  const beside = fields.length ? [h("section", "beside", h("h2", "", "Fields"), h("dl", "", ...pairs.flat()))] : [];
  const prompt = row.prompt.map((message) => part("prompt", message.role, message.text));
  const answers = row.answers?.map((answer, index) => part("answer", "AB"[index], answer));
  return [h("div", "texts", ...prompt, ...(answers ?? [part("answer wide", "answer", row.answer)])), ...beside];
}

function button([key, [decision, label]]) {
  const node = h("button", "", `${label} `, h("kbd", "", key));
  node.type = "button";
  node.id = decision;
  node.addEventListener("click", () => press(decision));
  return node;
}

function press(decision) {
  if (decision in QUESTIONS) write(decision);
  else if (decision === "undone") alone(undo);
  else alone(() => decide({ decision }));
}

async function decide(given) {
  if (!row) return;
  await call("decisions", { row: waiting[0], ...given });
  history.push([waiting.shift(), given.decision]);
  await show();
}

async function undo() {
  if (!history.length) return;
  await call("decisions", { row: history.at(-1)[0], decision: "undone" });
  waiting.unshift(history.pop()[0]);
  await show();
}

function write(decision) {
  writing = row ? decision : "";
  at("write").hidden = !writing;
  at("actions").hidden = Boolean(writing);
  at("question").textContent = QUESTIONS[writing] ?? "";
  at("ends").textContent = writing === "rejected" ? "Enter" : "Ctrl Enter";
  at("text").value = writing === "corrected" ? row.content : "";
  if (writing) at("text").focus();
}

function save() {
  const [decision, value] = [writing, at("text").value];
  alone(() => decide({ decision, [decision === "corrected" ? "answer" : "reason"]: value }));
}

addEventListener("keydown", (event) => {
  if (event.isComposing || event.altKey) return;
  if (writing) {
    if (event.key === "Escape") write("");
    // A reason is a line; an answer may have several.
    const ends = event.ctrlKey || event.metaKey || (writing === "rejected" && !event.shiftKey);
    if (event.key === "Enter" && ends) {
      event.preventDefault();
      save();
    }
    return;
  }
  const found = keys()[event.key.toLowerCase()];
  if (!found || event.repeat || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  press(found[0]);
});
at("leave").addEventListener("click", () => write(""));
at("write").addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});

busy = false;
alone(async () => {
  const { rows, known } = await call("rows");
  const skipped = new Set(known.filter(([, decision]) => decision === "skipped").map(([id]) => id));
  history = known.filter(([id]) => !skipped.has(id));
  const decided = new Set(history.map(([id]) => id));
  const open = rows.filter((id) => !decided.has(id));
  waiting = [...open.filter((id) => !skipped.has(id)), ...open.filter((id) => skipped.has(id))];
  await show();
});
