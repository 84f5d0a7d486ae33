// How good is it: the scores of runs beside those of real data, and whether it copies.

import { element, field, image, notice, number, table } from "./elements.js";
import { copying, NEARER, scoreTable } from "./scores.js";
import { get, picture, post } from "./server.js";

// Above so many standard deviations it is no chance any more that what is drawn is nearer to training data than real
// data is (Meehan et al. 2020).
const ALARM = 5;

// What starts the scoring of the chosen run, and says how far it is.
function scorer(context) {
  const count = element("input", { type: "number", min: "1", value: "", placeholder: "as usual" });
  const reference = element("input", { type: "number", min: "1", value: "", placeholder: "all" });
  const start = element("button", { class: "primary" }, "Score this run");
  const stop = element("button", { type: "button", hidden: true }, "Stop");
  const bar = element("progress", { "aria-label": "scoring", hidden: true });
  const line = element("p", { class: "small faint", role: "status" });
  const said = element("div", { "aria-live": "polite" });
  const title = element("h2");
  const form = element("form", {},
    element("div", { class: "pair" }, field("samples", count), field("compared with so many of each split", reference)),
    element("div", { class: "row" }, start, stop), bar, line, said);
  const root = element("section", { class: "card" }, title,
    element("p", {}, "Samples are drawn and compared with the data: the first time, the program trains a small network to see images by, which takes a while."), form);

  const tell = (error) => said.replaceChildren(notice(error.message, true));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    said.replaceChildren();
    start.disabled = true;
    const asked = Object.fromEntries([["count", count], ["reference_images", reference]]
      .filter(([, input]) => input.value !== "").map(([name, input]) => [name, Number(input.value)]));
    await post(`runs/${context.run().id}/evaluate`, asked).catch(tell);
    update();
  });
  stop.addEventListener("click", () => post(`runs/${context.run().id}/stop-evaluate`).catch(tell));

  function update() {
    const run = context.run();
    root.hidden = !run?.has_checkpoint;
    if (root.hidden) return;
    const isOn = run.scoring !== null;
    title.textContent = `Score ${run.name}`;
    start.disabled = isOn;
    stop.hidden = bar.hidden = !isOn;
    line.textContent = isOn ? run.scoring || "reading the data" : "";
    const [, done, all] = /(\d+) of (\d+)$/.exec(run.scoring ?? "") ?? [];
    if (all) [bar.max, bar.value] = [Number(all), Number(done)];
    else bar.removeAttribute("value");
    if (isOn) said.replaceChildren();
    else if (run.scoring_problem) tell({ message: run.scoring_problem });
  }
  update();
  return { root, update };
}

export function judge(main, context) {
  const place = element("div", {}, element("p", { class: "faint" }, "reading the scores"));
  const scoring = scorer(context);
  main.append(scoring.root, place);
  let isLeft = false;
  const state = () => context.runs().map(({ id, scored }) => `${id} ${scored}`).join();
  let shown = state();

  async function show() {
    const runs = context.runs();
    const all = await Promise.all(runs.map(async (run) => [run, await get(`runs/${run.id}/scores`)]));
    const chosen = context.run();
    const about = chosen && !chosen.problem && (await get(`runs/${chosen.id}`).catch(() => null));
    const nearest = about?.has_nearest && (await picture(`runs/${chosen.id}/nearest`));
    if (isLeft) return;
    const parts = [];
    const alarming = runs.filter(({ nearer_than_real, scored_in_training }) =>
      nearer_than_real !== null && copying({ value: nearer_than_real, samples: scored_in_training }) > ALARM);
    for (const [run, report] of all) {
      const score = report?.scores?.find(({ name }) => name === NEARER);
      if (score && copying(score) > ALARM && !alarming.includes(run)) alarming.push(run);
    }
    if (alarming.length > 0) {
      parts.push(notice(`Memorised: what ${alarming.map(({ name }) => name).join(", ")} draws is nearer to training data than real data is. More data, or fewer steps, help.`, true));
    }
    const withScores = all.filter(([, report]) => report?.scores?.length > 0);
    for (const [run, report] of withScores) {
      parts.push(element("section", { class: "card" },
        element("div", { class: "row spread" }, element("h2", {}, run.name), element("span", { class: "faint small" }, `step ${report.step}${report.sampler ? `, ${report.sampler}` : ""}`)),
        scoreTable(report.scores)));
    }
    if (withScores.length === 0) {
      parts.push(element("section", { class: "card" }, element("h2", {}, "Nothing is scored yet"),
        element("p", {}, "Scores say how far what is drawn is from real data, each beside the same score of real data. “Score this run” measures them; in a terminal:"),
        about && element("pre", { tabindex: "0" }, about.commands.evaluate)));
    }
    if (nearest) {
      parts.push(element("section", { class: "card" }, element("h2", {}, `Nearest training examples, ${chosen.name}`),
        element("p", {}, "What came nearest to training data, above; those training examples, below."),
        image(nearest, "samples beside the training examples nearest to them", { class: "grid-picture" })));
    }
    const measured = runs.filter(({ held_out_loss }) => held_out_loss !== null);
    if (measured.length > 0) {
      parts.push(element("section", { class: "card" }, element("h2", {}, "All runs"),
        table(["run", "data", "step", "training loss", "held-out loss", "FID in training", "nearer than real"],
          measured.map((run) => [run.name, run.data, run.step.toLocaleString("en"), number(run.loss), number(run.held_out_loss), number(run.fid), number(run.nearer_than_real)]),
          (column) => column > 1),
        element("p", { class: "faint small" }, "Losses are comparable where data, prediction type and loss weights are the same.")));
    }
    if (about?.configuration) {
      parts.push(element("details", { class: "card" }, element("summary", {}, `The configuration of ${chosen.name}`), element("pre", { tabindex: "0" }, about.configuration)));
    }
    place.replaceChildren(...parts);
  }
  const again = () => show().catch((error) => place.replaceChildren(notice(error.message, true)));
  again();
  context.on(() => {
    scoring.update();
    if (state() === shown) return;
    shown = state();
    again();
  });
  return () => { isLeft = true; };
}
