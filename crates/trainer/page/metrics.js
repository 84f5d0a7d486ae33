// Which curves there are of a run's metrics, and their lines.

import { smoothed } from "./chart.js";

export const CURVES = [
  { label: "Training loss", of: "training", key: "loss", isNoisy: true, isLog: true },
  { label: "Held-out loss", of: "measured", key: "held_out_loss", isLog: true },
  { label: "Held-out loss by timestep", of: "measured", key: "held_out_loss_by_timestep", isLog: true, isByTimestep: true },
  { label: "FID of samples", of: "measured", key: "fid", isLog: true },
  { label: "Nearer to training data than real data is (above 0.5: copies)", of: "measured", key: "nearer_than_real" },
  { label: "Learning rate", of: "training", key: "learning_rate" },
  { label: "Gradient norm", of: "training", key: "grad_norm", isNoisy: true, isLog: true },
  { label: "Examples a second", of: "training", key: "images_per_second" },
];

// The lines of one run in one of the curves, over "step" or "seconds"; none where it was not measured.
export function lines(curve, series, { name, colour, axis, smoothing }) {
  const columns = series[curve.of];
  const x = axis === "step" ? columns.step : columns.seconds.map((seconds) => seconds / 60);
  const y = columns[curve.key];
  const known = y.find((value) => value !== null);
  if (known === undefined) return [];
  if (curve.isByTimestep) {
    const count = known.length;
    const parts = [...new Set([0, Math.floor(count / 4), Math.floor(count / 2), count - 1])];
    return parts.map((part, index) => ({
      name: `t in ${Math.round((100 * part) / count)}–${Math.round((100 * (part + 1)) / count)} %`,
      x, y: y.map((values) => values && values[part]), colour: index, marked: true,
    }));
  }
  if (curve.isNoisy && smoothing > 0) {
    return [{ name, x, y, colour, faint: true }, { name, x, y: smoothed(y, smoothing), colour }];
  }
  return [{ name, x, y, colour, marked: curve.of === "measured" }];
}
