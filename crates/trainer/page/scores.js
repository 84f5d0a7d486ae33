// Scores beside those of real data.

import { number, table } from "./elements.js";

const MEANINGS = {
  FID: "distance between distributions of features; lower is better",
  KID: "the same, unbiased with few samples; lower is better",
  precision: "share of drawn ones that are like real ones; higher is better",
  recall: "share of real ones that are like drawn ones; higher is better",
  "nearer than real": "chance that a drawn one is nearer to a training example than a real one is; 0.5 by chance, near 1: copies",
};

// The score that says whether drawn ones are copies.
export const NEARER = "nearer than real";

// By how many of its standard deviations that score is above one half, were drawn ones as far from training data as real
// ones are: Mann and Whitney's statistic (Meehan et al. 2020).
export function copying({ value, samples, real_samples: real = samples }) {
  return (value - 0.5) / Math.sqrt((samples + real + 1) / (12 * samples * real));
}

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
