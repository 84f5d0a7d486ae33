//! UniPC of order two, with B(h) = e^h − 1 ("bh2") and x_0 as what is extrapolated (Zhao et al. 2023,
//! algorithms 5 to 8).
//!
//! A step from t first corrects the x_t that the step before has led to, by the x_0 that the network now
//! predicts there, and goes on from the corrected one as [`DpmSolver2M`](crate::DpmSolver2M) does. The
//! network is not asked again, so a step costs one call. The correction of x_t, reached from q with
//! h = λ_t − λ_q, is
//!
//! ```text
//! x_t = σ_t / σ_q x_q  +  α_t (1 − e^{−h}) (x_0(x_q, q) + c_1 D + c_2 (x_0(x_t, t) − x_0(x_q, q)))
//! ```
//!
//! where D is the change of x_0 that the step from q extrapolated, and c_1 and c_2 are such that x_0 of
//! degree two in λ is integrated exactly (their equation 8); where the step from q was of first order,
//! c_1 = 0 and c_2 = ½. The first and the last step are of first order. Only the difference between this
//! and the x_t of the step from q is added, so that whatever else was done to x_t stays.

use burn::tensor::Tensor;
use noising::{NoiseSchedule, PredictionType};

use super::exponential::{MultistepOptions, extrapolated_change, lambda_difference, mean_x_0};
use crate::clipping::X0Clipping;
use crate::error::SamplerError;
use crate::sampler::{Sampler, State};
use crate::steps::{History, NoiseLevel, Steps};

/// The sampler UniPC-2.
#[derive(Debug, Clone)]
pub struct UniPc<const D: usize> {
    steps: Steps,
    lower_order_final: bool,
    history: History<Taken<D>>,
}

/// A step that was taken.
#[derive(Debug, Clone)]
struct Taken<const D: usize> {
    from: NoiseLevel,
    /// The x_0 that the network predicted there.
    x_0: Tensor<D>,
    /// The change of x_0 that it extrapolated and the r of [`extrapolated_change`], if it did.
    change: Option<(Tensor<D>, f64)>,
}

impl<const D: usize> Taken<D> {
    /// `x`, which this step has led to at `to`, corrected by the `x_0` that the network predicts there.
    fn correct(self, to: NoiseLevel, x: Tensor<D>, x_0: &Tensor<D>) -> Tensor<D> {
        let h = lambda_difference(self.from, to);
        if !h.is_finite() {
            return x;
        }
        let difference = x_0.clone() - self.x_0;
        // What the mean of x_0 should have been more than the step took it for.
        let correction = match self.change {
            None => difference.mul_scalar(0.5),
            Some((change, r)) => {
                // φ_1 and φ_2 of their equation 8 at −h, over B(−h).
                let b = (-h).exp_m1();
                let phi_1 = b / -h - 1.0;
                let phi_2 = phi_1 / -h - 0.5;
                let [b_1, b_2] = [phi_1 / b, 2.0 * phi_2 / b];
                let c_1 = (b_1 - b_2) / (1.0 + r);
                change.mul_scalar(c_1 - 0.5) + difference.mul_scalar(b_1 - c_1)
            }
        };
        x + correction.mul_scalar(to.alpha() * -(-h).exp_m1())
    }
}

impl<const D: usize> UniPc<D> {
    /// A sampler that visits `timesteps`, which fall, for a network of this prediction type.
    ///
    /// # Errors
    ///
    /// If `timesteps` is empty, does not fall strictly or leaves the schedule, if ε is predicted at
    /// zero SNR, or if `clipping` makes no sense.
    pub fn new(
        schedule: &NoiseSchedule,
        timesteps: &[f64],
        prediction_type: PredictionType,
        clipping: X0Clipping,
        options: MultistepOptions,
    ) -> Result<Self, SamplerError> {
        let mut steps = Steps::new(schedule, timesteps, prediction_type, clipping)?;
        if !options.set_alpha_to_one {
            steps = steps.ending_on_the_chain(schedule);
        }
        Ok(Self {
            steps,
            lower_order_final: options.lower_order_final,
            history: History::new(),
        })
    }
}

impl<const D: usize> Sampler<D> for UniPc<D> {
    fn num_steps(&self) -> usize {
        self.steps.len()
    }

    fn step(
        &mut self,
        index: usize,
        x_t: Tensor<D>,
        model: &mut dyn FnMut(Tensor<D>, f64) -> Tensor<D>,
        _noise: &mut dyn FnMut() -> Tensor<D>,
    ) -> State<D> {
        let step = self.steps.get(index);
        let predicted_x_0 = self
            .steps
            .predict(step.from, x_t.clone(), model)
            .predicted_x_0;
        let taken = self.history.before(index);
        let before = taken.as_ref().map(|taken| (taken.from, taken.x_0.clone()));
        let x_t = match taken {
            Some(taken) => taken.correct(step.from, x_t, &predicted_x_0),
            None => x_t,
        };

        let before = before.filter(|_| !(step.is_last && self.lower_order_final));
        let change = extrapolated_change(step, &predicted_x_0, before);
        let mean_x_0 = mean_x_0(&predicted_x_0, change.as_ref());
        self.history.record(
            index,
            Taken {
                from: step.from,
                x_0: predicted_x_0.clone(),
                change,
            },
        );
        State {
            index,
            timestep: step.from.timestep,
            x: step.from.first_order_step(step.to, x_t, mean_x_0),
            predicted_x_0,
        }
    }
}
