// How good is it: the scores of runs beside those of real data, and whether it copies.

import { element, image, notice, number, table } from "./elements.js";
import { scoreTable } from "./scores.js";
import { get, picture } from "./server.js";

// Above one half, what is drawn is nearer to training data than data of the same kind is.
const ALARM = 0.5;

export function judge(main, context) {
  const place = element("div", {}, element("p", { class: "faint" }, "reading the scores"));
  main.append(place);
  let isLeft = false;

  async function show() {
    const runs = context.runs();
    const all = await Promise.all(runs.map(async (run) => [run, await get(`runs/${run.id}/scores`)]));
    const chosen = context.run();
    const about = chosen && !chosen.problem && (await get(`runs/${chosen.id}`).catch(() => null));
    const nearest = about?.has_nearest && (await picture(`runs/${chosen.id}/nearest`));
    if (isLeft) return;
    const parts = [];
    const alarming = runs.filter(({ nearer_than_real }) => nearer_than_real > ALARM);
    for (const [run, report] of all) {
      const score = report?.scores?.find(({ name }) => name === "nearer than real");
      if (score?.value > ALARM && !alarming.includes(run)) alarming.push(run);
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
        element("p", {}, "Scores say how far what is drawn is from real data, each beside the same score of real data. In a terminal:"),
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
  show().catch((error) => place.replaceChildren(notice(error.message, true)));
  return () => { isLeft = true; };
}
