// The frame of the page: which view and which run is shown, and the list of runs, which all views share.

import { element, notice } from "./elements.js";
import { events, Refused } from "./server.js";
import { runs } from "./runs.js";
import { curves } from "./curves.js";
import { draw } from "./draw.js";
import { understand } from "./understand.js";
import { judge } from "./judge.js";

const VIEWS = { runs: ["Runs", runs], curves: ["Curves", curves], draw: ["Draw", draw], understand: ["Understand", understand], judge: ["Judge", judge] };

// What all views know: the runs, which one is chosen, and whom to tell when either changes.
const state = { runs: null, id: null, view: "runs", listeners: new Set() };

const main = document.getElementById("view");
const picker = document.getElementById("run");
const connection = document.getElementById("connection");
const tabs = document.getElementById("tabs");
let leave = null;

// What a view is given: `run()` is the chosen one, `on` is called with each new list, until the view is left; `show` begins
// the view anew.
const context = () => ({
  runs: () => state.runs ?? [],
  run: () => state.runs?.find(({ id }) => id === state.id),
  on: (listener) => { state.listeners.add(listener); },
  show,
  go: (view, id = state.id) => { location.hash = `${view}/${id ?? ""}`; },
});

function show() {
  leave?.();
  state.listeners.clear();
  for (const tab of tabs.children) {
    if (tab.dataset.view === state.view) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
    tab.href = `#${tab.dataset.view}/${state.id ?? ""}`;
  }
  document.title = `${VIEWS[state.view][0]} · Diffusion trainer`;
  picker.parentElement.hidden = state.view === "runs";
  picker.value = state.id ?? "";
  main.replaceChildren();
  leave = VIEWS[state.view][1](main, context()) ?? null;
}

function follow() {
  const [view, id] = location.hash.slice(1).split("/");
  state.view = view in VIEWS ? view : "runs";
  if (id) state.id = id;
  if (state.runs) show();
}

function list(runs) {
  const isFirst = state.runs === null;
  const before = state.runs?.map(({ id, name }) => id + name).join();
  state.runs = runs;
  if (!runs.some(({ id }) => id === state.id)) {
    state.id = (runs.find((run) => run.has_checkpoint && !run.problem) ?? runs[0])?.id ?? null;
  }
  if (before !== runs.map(({ id, name }) => id + name).join()) {
    picker.replaceChildren(...runs.map(({ id, name }) => element("option", { value: id, selected: id === state.id }, name)));
  }
  if (isFirst) show();
  else for (const listener of [...state.listeners]) listener();
}

async function watch() {
  for (;;) {
    try {
      for await (const [name, data] of events("runs/watched")) {
        connection.textContent = "";
        if (name === "runs") list(JSON.parse(data));
      }
    } catch (error) {
      if (error instanceof Refused && error.status === 401) {
        main.replaceChildren(notice(error.message, true));
        return;
      }
    }
    connection.textContent = "no connection to the program";
    await new Promise((again) => setTimeout(again, 2000));
  }
}

for (const [view, [name]] of Object.entries(VIEWS)) {
  tabs.append(element("a", { href: `#${view}/`, "data-view": view }, name));
}
picker.addEventListener("change", () => context().go(state.view, picker.value));
addEventListener("hashchange", follow);
// What went wrong where nobody expected it is at least said.
addEventListener("unhandledrejection", ({ reason }) => {
  if (reason?.name !== "AbortError") main.prepend(notice(reason?.message ?? String(reason), true));
});
follow();
watch();
