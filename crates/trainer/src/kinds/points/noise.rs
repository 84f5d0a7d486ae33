//! Clouds of points that dissolve into N(0, I).

use anyhow::Result;
use burn::tensor::Tensor;
use datasets::Points;
use rand::seq::index;
use tracing::info;

use crate::drawing::scatter::{LARGE, SMALL, axis_limit, panel};
use crate::kinds::forward::{Forward, Strips, values};
use training::streams;

/// Shows at most `count` points on their way. The noise of each dimension is independent of the
/// others', so only those that are drawn, the first two, are noised.
pub fn show(forward: &Forward, points: &Points, count: Option<usize>) -> Result<()> {
    let dimensions = points.dimensions().min(2);
    let x_0 = points.to_tensor(&forward.device).narrow(1, 0, dimensions);
    let x_0: Tensor<4> = x_0.unsqueeze_dims(&[2, 3]);
    let x_0 = some_of(x_0, count.unwrap_or(super::COUNT), forward);
    let drawn = x_0.dims()[0];
    info!(
        "noising {drawn} of {} points; drawn: {} (moved by their mean and divided by {:.4})",
        points.len(),
        points.normalisation().columns[..dimensions].join(" across, "),
        points.normalisation().scale
    );
    let axis_limit = axis_limit(&values(x_0.clone())?);

    let shape = x_0.dims();
    // Index 0 chose the points.
    let mut rng = forward.rng(1);
    let panel = |x: Tensor<4>, side: u32| panel(&values(x)?, dimensions, axis_limit, side);
    let strips = match dimensions {
        1 => Strips {
            closed_form: "histogram-closed-form.png",
            step_by_step: "histogram-step-by-step.png",
            note: " (orange: N(0, 1), pure noise)",
        },
        _ => Strips {
            closed_form: "scatter-closed-form.png",
            step_by_step: "scatter-step-by-step.png",
            note: " (orange: where pure noise N(0, I) has 39 % and 86 % of its points)",
        },
    };
    forward.show(
        x_0,
        || streams::noise(shape, &mut rng, &forward.device),
        |x| Ok(vec![panel(x, SMALL)?]),
        |x| panel(x, LARGE),
        strips,
    )
}

/// All points, or `count` of them chosen at random.
fn some_of(points: Tensor<4>, count: usize, forward: &Forward) -> Tensor<4> {
    let all = points.dims()[0];
    if all <= count {
        return points;
    }
    let mut rng = forward.rng(0);
    let chosen: Vec<i64> = index::sample(&mut rng, all, count)
        .into_iter()
        .map(|index| index as i64)
        .collect();
    points.select(0, Tensor::from_data(chosen.as_slice(), &forward.device))
}
