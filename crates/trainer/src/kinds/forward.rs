//! The forward process made visible, in both ways that the chain knows (Ho et al. 2020, equations 2 and
//! 4): in closed form, by one noise however far, and step by step, by a fresh noise in each.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor};
use image::DynamicImage;
use noising::Chain;
use rand_chacha::ChaCha8Rng;
use training::{Purpose, Streams};

use super::table;
use crate::drawing::captions::{Captions, captioned, title_width};
use crate::drawing::frames::evenly_spread;
use crate::drawing::{grid, pictures, plots};
use crate::progress;
use crate::report;

/// Frames of an animation besides that of x_0, and how long each is shown.
const FRAMES: usize = 40;
const FRAME_TIME: Duration = Duration::from_millis(100);

/// The forward process, what is to be seen of it, and where that goes.
#[derive(Debug)]
pub struct Forward {
    pub(super) chain: Chain,
    pub(super) streams: Streams,
    pub(super) device: Device,
    /// The timesteps side by side in a strip, after x_0.
    pub(super) columns: Vec<usize>,
    /// The timesteps of an animation, after x_0.
    pub(super) frames: Vec<usize>,
    pub(super) out: PathBuf,
}

/// The names of the two strips, and what their titles say besides the formula.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strips {
    pub(super) closed_form: &'static str,
    pub(super) step_by_step: &'static str,
    pub(super) note: &'static str,
}

impl Forward {
    /// The forward process along `chain`, shown at `columns` timesteps, x_0 among them; all files go into
    /// the folder `out`.
    pub fn new(chain: Chain, columns: usize, seed: u64, out: &Path, device: Device) -> Self {
        let num_train_timesteps = chain.num_train_timesteps();
        Self {
            streams: Streams::new(seed),
            device,
            columns: evenly_spread(num_train_timesteps, columns - 1),
            frames: evenly_spread(num_train_timesteps, FRAMES),
            out: out.to_owned(),
            chain,
        }
    }

    /// The random numbers of one example.
    pub(super) fn rng(&self, index: usize) -> ChaCha8Rng {
        self.streams.at(Purpose::Forward, index as u64)
    }

    /// Shows `x_0` on its way in both forms. `column` draws a state of it as the cells of a column
    /// from top to bottom, `frame` as a frame of an animation.
    pub(super) fn show(
        &self,
        x_0: Tensor<4>,
        mut noise: impl FnMut() -> Tensor<4>,
        column: impl Fn(Tensor<4>) -> Result<Vec<DynamicImage>>,
        frame: impl Fn(Tensor<4>) -> Result<DynamicImage>,
        strips: Strips,
    ) -> Result<()> {
        self.make_folder()?;
        let mean_square = mean_square(&values(x_0.clone())?);

        let one_noise = noise();
        let mut columns = vec![column(x_0.clone())?];
        for &t in &self.columns {
            columns.push(column(self.chain.q_sample(
                x_0.clone(),
                one_noise.clone(),
                &[t],
            ))?);
        }
        let note = strips.note;
        let title = format!("Closed form, one ε for all t: xₜ = √ᾱₜ x₀ + √(1 − ᾱₜ) ε{note}");
        self.save(&self.strip(&columns, &title)?, strips.closed_form)?;

        columns.truncate(1);
        let mut frames = vec![frame(x_0.clone())?];
        let bar = progress::bar(self.chain.num_train_timesteps(), "noising");
        for (t, x_t) in self.chain.trajectory(x_0, |_| noise()) {
            if self.columns.binary_search(&t).is_ok() {
                columns.push(column(x_t.clone())?);
            }
            if self.frames.binary_search(&t).is_ok() {
                frames.push(frame(x_t)?);
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        let title = format!("Step by step, a fresh ε each: xₜ = √(1 − βₜ) xₜ₋₁ + √βₜ ε{note}");
        self.save(&self.strip(&columns, &title)?, strips.step_by_step)?;
        self.save_animation(&frames)?;
        self.finish(mean_square)
    }

    /// Columns beside each other, x_0 first, each with its timestep above it.
    pub(super) fn strip(&self, columns: &[Vec<DynamicImage>], title: &str) -> Result<DynamicImage> {
        let rows = columns.first().map_or(0, Vec::len);
        let cells: Vec<DynamicImage> = (0..rows)
            .flat_map(|row| columns.iter().map(move |column| column[row].clone()))
            .collect();
        let labels: Vec<String> = std::iter::once("x₀".to_owned())
            .chain(self.columns.iter().map(|t| format!("t = {t}")))
            .collect();
        captioned(
            &grid::grid(&cells, columns.len())?,
            &Captions::title(title).columns(labels),
            0,
        )
    }

    /// Writes frames, x_0 first, each with its timestep above it.
    pub(super) fn save_animation(&self, frames: &[DynamicImage]) -> Result<()> {
        let title = |t: usize| {
            let alpha_cumprod = self.chain.schedule().alphas_cumprod()[t];
            let (signal, noise) = (alpha_cumprod.sqrt(), (1.0 - alpha_cumprod).sqrt());
            format!("t = {t}: {signal:.2} x₀ + {noise:.2} ε")
        };
        let titles: Vec<String> = std::iter::once("x₀: the data".to_owned())
            .chain(self.frames.iter().copied().map(title))
            .collect();
        let width = titles
            .iter()
            .map(|title| title_width(title))
            .try_fold(0, |widest, width| width.map(|width| width.max(widest)))?;
        let frames: Vec<DynamicImage> = frames
            .iter()
            .zip(&titles)
            .map(|(frame, title)| captioned(frame, &Captions::title(title), width))
            .collect::<Result<_>>()?;
        let path = self.out.join("noising.gif");
        pictures::save_gif(&frames, FRAME_TIME, &path)?;
        report::wrote(&path);
        Ok(())
    }

    pub(super) fn save(&self, picture: &DynamicImage, name: &str) -> Result<()> {
        let path = self.out.join(name);
        pictures::save_png(picture, &path)?;
        report::wrote(&path);
        Ok(())
    }

    /// Makes the folder before the work starts, so that a place that cannot be written shows at
    /// once.
    pub(super) fn make_folder(&self) -> Result<()> {
        fs::create_dir_all(&self.out)
            .with_context(|| format!("cannot make the folder {}", self.out.display()))
    }

    /// What is the same for all data: the curves and the table of the schedule.
    pub(super) fn finish(&self, x_0_mean_square: f64) -> Result<()> {
        let schedule = self.chain.schedule();
        let path = self.out.join("schedule.png");
        plots::schedule(schedule, &path)?;
        report::wrote(&path);
        let path = self.out.join("table.csv");
        let rows = table::rows(schedule, x_0_mean_square);
        table::save(&rows, &path)?;
        report::wrote(&path);
        report::figures(format!("\n{}", table::aligned(&rows).trim_end()));
        for row in &rows {
            report::json(row)?;
        }
        Ok(())
    }
}

/// The values of a tensor, on the host.
pub(super) fn values(x: Tensor<4>) -> Result<Vec<f32>> {
    x.try_into_vec_as()
        .context("cannot read values back from the device")
}

pub(super) fn mean_square(values: &[f32]) -> f64 {
    let sum: f64 = values.iter().map(|&value| f64::from(value).powi(2)).sum();
    sum / values.len() as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn both_ways_end_in_standard_normal_noise() {
        const COUNT: usize = 40_000;
        let device = Device::flex();
        let chain = Chain::new(
            noising::NoiseSchedule::new(&noising::BetaSchedule::default(), 1000).unwrap(),
        );
        // Far from N(0, I): all values are 1.
        let x_0 = Tensor::<4>::ones([1, 1, 1, COUNT], &device);
        let mut rng = Streams::new(0).at(Purpose::Forward, 0);
        let mut noise = || training::streams::noise([1, 1, 1, COUNT], &mut rng, &device);
        let closed_form = chain.q_sample(x_0.clone(), noise(), &[999]);
        let (_, step_by_step) = chain.trajectory(x_0, |_| noise()).last().unwrap();
        for x in [closed_form, step_by_step] {
            let values = values(x).unwrap();
            let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / COUNT as f64;
            let deviation = (mean_square(&values) - mean * mean).sqrt();
            // √ᾱ leaves 0.006 of the mean; six standard errors are 0.03 and 0.02.
            assert!((mean - 0.00635).abs() < 0.03, "mean {mean}");
            assert!((deviation - 1.0).abs() < 0.022, "deviation {deviation}");
        }
    }
}
