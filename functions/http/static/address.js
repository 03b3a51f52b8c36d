// What is shown is in the address, so it survives a reload.
// #/ or #/runs/ID or #/runs/ID/report or #/runs/ID/evaluation, then ?project=...&status=...

export function address() {
  const [path, query] = location.hash.slice(1).split("?");
  const [, kind, id, view] = (path || "/").split("/");
  const filters = new URLSearchParams(query ?? "");
  let run = null;
  try {
    run = kind === "runs" && id ? decodeURIComponent(id) : null;
  } catch {
    /* a broken escape names no run */
  }
  return { run, view: view ?? "", project: filters.get("project") ?? "", status: filters.get("status") ?? "" };
}

export function addressOf(run, { project, status }) {
  const filters = new URLSearchParams(Object.entries({ project, status }).filter(([, value]) => value));
  return `#/${run ? `runs/${encodeURIComponent(run)}` : ""}${filters.size ? `?${filters}` : ""}`;
}
