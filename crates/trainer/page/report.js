// The report of a run: its curves, grids and scores, from what stands in the file itself.

import { element, figures, number, time } from "./elements.js";
import { Chart } from "./chart.js";
import { CURVES, lines } from "./metrics.js";
import { scoreTable } from "./scores.js";

const data = JSON.parse(document.getElementById("data").textContent);
const main = document.getElementById("view");
const section = (title, ...children) => element("section", { class: "card" }, element("h2", {}, title), children);

main.append(element("section", { class: "card" },
  element("h2", {}, data.name),
  element("p", { class: "faint" }, `${data.overview.data} (${data.overview.kind}), ${data.overview.budget}; by version ${data.program_version}, ${data.date}`),
  figures([
    ["step", data.overview.step.toLocaleString("en")],
    ["examples seen", data.overview.examples_seen.toLocaleString("en")],
    ["trained for", time(data.overview.seconds)],
    ["loss", number(data.overview.loss)],
    ["held out", number(data.overview.held_out_loss)],
    ["FID in training", number(data.overview.fid)],
    ["sampler", data.overview.sampler],
  ])));

if (data.grids.length > 0) {
  const slider = element("input", { type: "range", min: "0", max: String(data.grids.length - 1), value: String(data.grids.length - 1), "aria-label": "step of training", class: "screen", hidden: data.grids.length < 2 });
  const label = element("output", { class: "faint" });
  const picture = element("img", { class: "grid-picture" });
  const show = () => {
    const { step, png } = data.grids[Number(slider.value)];
    picture.src = `data:image/png;base64,${png}`;
    picture.alt = `samples at step ${step}`;
    label.textContent = `step ${step.toLocaleString("en")}`;
  };
  slider.addEventListener("input", show);
  show();
  main.append(section("What it draws as it learned", label, slider, picture));
}

const charts = element("div", { class: "charts" });
main.append(charts);
for (const curve of CURVES) {
  const series = lines(curve, data.series, { name: data.name, colour: 0, axis: "step", smoothing: 0.9 });
  if (series.length === 0) continue;
  const chart = new Chart({ label: curve.label, unit: "step", logarithmic: Boolean(curve.isLog), formatX: (step) => number(Math.round(step), 6) });
  charts.append(element("section", { class: "card" }, element("h3", {}, curve.label), chart.root));
  chart.set(series);
}

if (data.scores?.scores?.length > 0) {
  main.append(section("Scores", element("p", { class: "faint" }, `step ${data.scores.step}, ${data.scores.sampler ?? ""}`), scoreTable(data.scores.scores)));
}
if (data.nearest) {
  main.append(section("Nearest training examples", element("p", {}, "What came nearest to training data, above; those training examples, below."),
    element("img", { src: `data:image/png;base64,${data.nearest}`, alt: "samples beside the training examples nearest to them", class: "grid-picture" })));
}
main.append(section("How to make it again", element("p", {}, "Save the configuration below as ", element("code", {}, "again.toml"), ". Then:"),
  element("pre", { tabindex: "0" }, data.commands.join("\n")), element("pre", { tabindex: "0" }, data.configuration)));
