// Scores beside those of real data.

import { number, table } from "./elements.js";

const MEANINGS = {
  FID: "distance between distributions of features; lower is better",
  KID: "the same, unbiased with few samples; lower is better",
  precision: "share of drawn ones that are like real ones; higher is better",
  recall: "share of real ones that are like drawn ones; higher is better",
  "nearer than real": "chance that a drawn one is nearer to a training example than a real one is; above 0.5: copies",
};

export function scoreTable(scores) {
  const rows = scores.map((score) => [
    score.name,
    number(score.value) + (score.deviation === undefined ? "" : ` ± ${number(score.deviation, 2)}`),
    score.real === undefined ? "–" : number(score.real),
    String(score.samples ?? ""),
    MEANINGS[score.name] ?? "",
    [score.features, score.reference].filter(Boolean).join(", against the "),
  ]);
  return table(["score", "drawn", "real", "samples", "meaning", "measured by"], rows, (column) => column > 0 && column < 4, { class: "prose" });
}
