// All runs: what each is doing, how to start one, stop it and go on with it.

import { element, field, figures, notice, number, select, time } from "./elements.js";
import { get, post } from "./server.js";

// The sections of a configuration that are changed most come first.
const FIRST = ["training", "network", "sampling", "data"];
const place = (section) => (FIRST.includes(section) ? FIRST.indexOf(section) : FIRST.length);

const NAMES = { training: "training", stopped: "stopped", finished: "finished" };

// A button that does something on the server and says what went wrong.
function action(text, what, said, attributes = {}) {
  const button = element("button", { type: "button", ...attributes }, text);
  button.addEventListener("click", async () => {
    button.disabled = true;
    said.replaceChildren();
    try {
      await what();
    } catch (error) {
      said.replaceChildren(notice(error.message, true));
    } finally {
      button.disabled = false;
    }
  });
  return button;
}

function card(run, context) {
  const said = element("div");
  const facts = element("div");
  const bar = element("progress", { max: 1, "aria-label": `progress of ${run.name}` });
  const problem = element("div", { class: "notice bad", hidden: true });
  const state = element("span", { class: "state" });
  const budget = element("input", { type: "number", min: "1", step: "any", value: "", "aria-label": "minutes in all", placeholder: "minutes in all" });
  const asked = () => ({ minutes: Number(budget.value) || null });
  // Each is there from the start and hidden while it makes no sense: one that was made anew at every change would lose
  // the focus, and a click that is under way.
  const choices = [
    [element("button", { type: "button", class: "primary", onclick: () => context.go("draw", run.id) }, "Draw"), (run) => run.has_checkpoint],
    [element("button", { type: "button", onclick: () => context.go("curves", run.id) }, "Curves"), (run) => run.seconds > 0],
    [action("Stop and save", () => post(`runs/${run.id}/stop`), said), (run) => run.state === "training"],
    [element("span", { class: "faint small" }, "started in a terminal"), (run) => run.state === "training" && !run.is_ours],
    [action("Go on", () => post(`runs/${run.id}/resume`), said), (run) => run.state === "stopped"],
    [element("details", {}, element("summary", {}, "Train longer"),
      element("div", { class: "row" }, budget,
        action("Go on for so long", () => post(`runs/${run.id}/resume`, asked()), said),
        action("Branch", () => post(`runs/${run.id}/branch`, asked()), said, { title: "a new run that begins with these weights" }))),
    (run) => run.state !== "training" && run.has_checkpoint],
  ];
  const root = element("section", { class: "card run-card", "aria-label": run.name },
    element("div", { class: "row" }, element("h2", {}, run.name), state),
    element("div", { class: "row" }, choices.map(([choice]) => choice)), facts, element("span"), bar, problem, said);

  function update(run) {
    state.textContent = NAMES[run.state];
    state.className = `state ${run.state}`;
    facts.replaceChildren(
      element("div", { class: "faint small" }, [run.data, run.kind && `(${run.kind})`, run.budget && `· ${run.budget}`].filter(Boolean).join(" ")),
      figures([
        ["step", run.step.toLocaleString("en")],
        ["loss", number(run.loss)],
        ["held out", number(run.held_out_loss)],
        ["FID", number(run.fid)],
        ["trained", run.seconds > 0 ? time(run.seconds) : null],
        ["speed", run.state === "training" && run.examples_per_second ? `${number(run.examples_per_second, 3)} examples/s` : null],
        ["device", run.device],
        ["left", run.state === "training" ? time(run.seconds_left) : null],
      ]));
    bar.value = run.progress;
    bar.hidden = !(run.progress > 0);
    problem.hidden = !run.problem;
    problem.textContent = run.problem ?? "";
    for (const [choice, makesSense] of choices) choice.hidden = !makesSense(run);
  }

  update(run);
  return { root, update };
}

// The form of a new run: the keys of a configuration, a section each.
function starter(context) {
  const said = element("div", { "aria-live": "polite" });
  const form = element("form", {});
  const root = element("details", { class: "card" }, element("summary", {}, element("b", {}, "Start a training")), form, said);
  let isFilled = false;
  root.addEventListener("toggle", async () => {
    if (!root.open || isFilled) return;
    isFilled = true;
    fill(await get("configurations"));
  });

  function fill(configurations) {
    const named = new Map(configurations.map((one) => [one.name, one]));
    const chosen = select(configurations.map(({ name }) => [name, name]), "mnist");
    const amount = element("input", { type: "number", min: "0", step: "any", value: "10" });
    const unit = select([["minutes", "minutes"], ["steps", "steps"], ["", "as configured"]], "minutes");
    unit.addEventListener("change", () => { amount.disabled = unit.value === ""; });
    const summary = element("p", { class: "faint" });
    const keys = element("div");
    const button = element("button", { class: "primary" }, "Start");
    let inputs = [];

    function show() {
      const configuration = named.get(chosen.value);
      summary.textContent = configuration.summary;
      inputs = [];
      const sections = new Map();
      for (const key of configuration.keys) {
        const at = key.key.indexOf(".");
        const section = at < 0 ? "general" : key.key.slice(0, at);
        const input = typeof key.value === "boolean"
          ? element("input", { type: "checkbox", checked: key.value })
          : key.choices.length > 0
            ? select(key.choices.map((choice) => [choice, choice]), key.value)
            : element("input", { type: "number", step: "any", value: String(key.value) });
        inputs.push([key, input]);
        if (!sections.has(section)) sections.set(section, []);
        sections.get(section).push(field(key.key.slice(at + 1), input, { title: key.meaning }));
      }
      keys.replaceChildren(...[...sections].sort(([a], [b]) => place(a) - place(b)).map(([name, fields]) =>
        element("details", {}, element("summary", {}, `[${name}] `, element("span", { class: "faint small" }, `${fields.length} keys`)),
          element("div", { class: "keys" }, fields))));
    }

    const value = (key, input) =>
      typeof key.value === "boolean" ? input.checked : key.choices.length > 0 ? input.value : Number(input.value);
    chosen.addEventListener("change", show);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      button.disabled = true;
      said.replaceChildren(notice("starting: the data are read first"));
      const values = Object.fromEntries(inputs
        .map(([key, input]) => [key.key, key.value, value(key, input)])
        .filter(([, before, now]) => before !== now).map(([key, , now]) => [key, now]));
      const budget = unit.value ? { [unit.value]: Number(amount.value) } : {};
      try {
        const { name } = await post("runs", { configuration: chosen.value, values, budget });
        said.replaceChildren(notice(`${name} is in training`));
        root.open = false;
      } catch (error) {
        said.replaceChildren(notice(error.message, true));
      } finally {
        button.disabled = false;
      }
    });
    form.append(
      element("div", { class: "pair" }, field("configuration", chosen), element("div", { class: "pair" }, field("train for", amount), field("unit", unit))),
      summary,
      element("details", {}, element("summary", {}, "All keys"), keys),
      element("div", { class: "row" }, button, element("span", { class: "faint small" }, "It goes on when this page is closed, and stops, saved, when the program is ended.")));
    show();
  }
  return root;
}

export function runs(main, context) {
  const empty = element("section", { class: "card" }, element("h2", {}, "There are no runs yet"),
    element("p", {}, "A run is one training. Start one above: “mnist” learns handwritten digits, in ten minutes on two CPU cores; ",
      "then draw from it here."));
  const list = element("div");
  main.append(starter(context), list);
  const cards = new Map();
  const update = () => {
    const all = context.runs();
    for (const id of [...cards.keys()]) {
      if (!all.some((run) => run.id === id)) cards.delete(id);
    }
    for (const run of all) {
      if (cards.has(run.id)) cards.get(run.id).update(run);
      else cards.set(run.id, card(run, context));
    }
    const roots = all.length > 0 ? all.map((run) => cards.get(run.id).root) : [empty];
    // Moved only where the order is another, so that nothing loses its focus.
    if (roots.length !== list.children.length || roots.some((root, place) => list.children[place] !== root)) {
      list.replaceChildren(...roots);
    }
  };
  update();
  context.on(update);
}
