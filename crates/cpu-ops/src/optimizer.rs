//! What an optimiser does to the flat vector of all parameters, each in one pass over memory.
//!
//! With burn's operations AdamW alone takes a dozen passes, each with a vector of its own that is
//! allocated, filled and dropped.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, TensorMetadata, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use crate::has_kernels;
use crate::host::{Host, Numbers, small_tensor, tensor};
use crate::memory::{Buffer, filled};
use crate::simd::{Kernel, Simd, run};

/// Numbers that are worth a task, and whose squares are summed by themselves. Part of the result: a
/// sum in other pieces is rounded differently.
const PIECE: usize = 1 << 14;

/// The numbers of one step of AdamW (Loshchilov and Hutter 2019, algorithm 2).
#[derive(Clone, Copy, Debug)]
pub struct AdamWStep {
    /// β₁: decay of the moving average of the gradient.
    pub beta_1: f64,
    /// β₂: decay of the moving average of its square.
    pub beta_2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decay of the weights, before it is multiplied by the learning rate.
    pub weight_decay: f64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Number of the step, the first being 1.
    pub step: u64,
}

/// What a step of AdamW leaves: all `[N]`.
#[derive(Clone, Debug)]
pub struct AdamWState {
    /// The parameters.
    pub parameters: Tensor<1>,
    /// Moving average of the gradient, m.
    pub first: Tensor<1>,
    /// Moving average of its square, v.
    pub second: Tensor<1>,
}

/// The same numbers, as a pass over the vectors needs them: the corrections for the zero start are
/// folded into scalars, m̂ / (√v̂ + ε) = (m / (1 − β₁ᵗ)) / (√v / √(1 − β₂ᵗ) + ε).
#[derive(Clone, Copy, Debug)]
struct Coefficients {
    beta_1: f32,
    one_minus_beta_1: f32,
    beta_2: f32,
    one_minus_beta_2: f32,
    /// 1 / √(1 − β₂ᵗ)
    root_factor: f32,
    epsilon: f32,
    /// learning rate / (1 − β₁ᵗ)
    step_size: f32,
    /// 1 − learning rate · weight decay
    kept: f32,
}

impl AdamWStep {
    fn coefficients(self) -> Coefficients {
        let t = self.step as f64;
        Coefficients {
            beta_1: self.beta_1 as f32,
            one_minus_beta_1: (1.0 - self.beta_1) as f32,
            beta_2: self.beta_2 as f32,
            one_minus_beta_2: (1.0 - self.beta_2) as f32,
            root_factor: (1.0 / (1.0 - self.beta_2.powf(t)).sqrt()) as f32,
            epsilon: self.epsilon as f32,
            step_size: (self.learning_rate / (1.0 - self.beta_1.powf(t))) as f32,
            kept: (1.0 - self.learning_rate * self.weight_decay) as f32,
        }
    }
}

/// One step of AdamW against `gradient` (`[N]`) times `gradient_scale` (`[1]`), as of clipping.
///
/// # Panics
///
/// If lengths differ.
#[must_use]
pub fn adamw(
    state: AdamWState,
    gradient: Tensor<1>,
    gradient_scale: Tensor<1>,
    step: AdamWStep,
) -> AdamWState {
    let length = state.parameters.dims();
    for vector in [&gradient, &state.first, &state.second] {
        assert!(
            vector.dims() == length,
            "{:?} beside {length:?} parameters",
            vector.dims()
        );
    }
    let c = step.coefficients();
    if on_host(&state.parameters) {
        let (parameters, first, second) = Dispatch::adamw_pass(
            state.parameters.into_dispatch(),
            state.first.into_dispatch(),
            state.second.into_dispatch(),
            gradient.into_dispatch(),
            gradient_scale.into_dispatch(),
            c,
        );
        return AdamWState {
            parameters: Tensor::from_dispatch(parameters),
            first: Tensor::from_dispatch(first),
            second: Tensor::from_dispatch(second),
        };
    }
    let gradient = gradient * gradient_scale;
    let first = state.first * c.beta_1 + gradient.clone() * c.one_minus_beta_1;
    let second = state.second * c.beta_2 + gradient.square() * c.one_minus_beta_2;
    let root = second.clone().sqrt() * c.root_factor + c.epsilon;
    AdamWState {
        parameters: state.parameters * c.kept - first.clone() / root * c.step_size,
        first,
        second,
    }
}

/// `from` times `decay` plus `to` times 1 − `decay`: a step of an exponential moving average. All `[N]`.
///
/// # Panics
///
/// If lengths differ.
#[must_use]
pub fn moving_average(from: Tensor<1>, to: Tensor<1>, decay: f64) -> Tensor<1> {
    assert!(
        from.dims() == to.dims(),
        "an average of {:?} and {:?}",
        from.dims(),
        to.dims()
    );
    if on_host(&from) {
        return Tensor::from_dispatch(Dispatch::average_pass(
            from.into_dispatch(),
            to.into_dispatch(),
            [decay as f32, (1.0 - decay) as f32],
        ));
    }
    from * decay + to * (1.0 - decay)
}

/// The sum of the squares of a vector `[N]`: `[1]`.
#[must_use]
pub fn sum_of_squares(x: Tensor<1>) -> Tensor<1> {
    if on_host(&x) {
        return Tensor::from_dispatch(Dispatch::square_sum(x.into_dispatch()));
    }
    x.square().sum()
}

/// Whether the kernels take the vector. Nothing here has a gradient.
fn on_host(x: &Tensor<1>) -> bool {
    has_kernels(x) && !x.is_autodiff() && x.dims() != [0]
}

/// The passes.
#[backend_extension(Flex: cfg(feature = "flex"), NdArray: cfg(feature = "ndarray"))]
trait OptimizerOps: Backend {
    /// See [`adamw`]: the parameters and both moments.
    fn adamw_pass(
        parameters: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        gradient_scale: FloatTensor<Self>,
        coefficients: Coefficients,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// See [`moving_average`]; the factors of both.
    fn average_pass(
        from: FloatTensor<Self>,
        to: FloatTensor<Self>,
        factors: [f32; 2],
    ) -> FloatTensor<Self>;

    /// See [`sum_of_squares`].
    fn square_sum(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

macro_rules! host_passes {
    ($feature:literal, $backend:ident) => {
        #[cfg(feature = $feature)]
        impl OptimizerOps for burn::backend::$backend {
            fn adamw_pass(
                parameters: FloatTensor<Self>,
                first: FloatTensor<Self>,
                second: FloatTensor<Self>,
                gradient: FloatTensor<Self>,
                gradient_scale: FloatTensor<Self>,
                coefficients: Coefficients,
            ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
                let old = [parameters, first, second, gradient];
                adamw_on_host::<Self>(old, gradient_scale, coefficients)
            }

            fn average_pass(
                from: FloatTensor<Self>,
                to: FloatTensor<Self>,
                factors: [f32; 2],
            ) -> FloatTensor<Self> {
                average_on_host::<Self>(from, to, factors)
            }

            fn square_sum(x: FloatTensor<Self>) -> FloatTensor<Self> {
                square_sum_on_host::<Self>(x)
            }
        }
    };
}

host_passes!("flex", Flex);
host_passes!("ndarray", NdArray);

fn adamw_on_host<B: Host>(
    old: [FloatTensor<B>; 4],
    gradient_scale: FloatTensor<B>,
    coefficients: Coefficients,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let device = gradient_scale.device();
    let gradient_scale = Numbers::<B>::plain(gradient_scale).get()[0];
    let old = old.map(Numbers::<B>::plain);
    let [parameters, first, second, gradient] = old.each_ref().map(Numbers::get);
    let length = parameters.len();
    let mut new = [(); 3].map(|()| Buffer::new(length));
    let [new_parameters, new_first, new_second] = &mut new;
    new_parameters
        .par_chunks_mut(PIECE)
        .zip(new_first.par_chunks_mut(PIECE))
        .zip(new_second.par_chunks_mut(PIECE))
        .zip(parameters.par_chunks(PIECE))
        .zip(first.par_chunks(PIECE))
        .zip(second.par_chunks(PIECE))
        .zip(gradient.par_chunks(PIECE))
        .for_each(|((((((p, m), v), from_p), from_m), from_v), gradient)| {
            run(AdamWPass {
                from: [from_p, from_m, from_v, gradient],
                to: [p, m, v],
                gradient_scale,
                c: coefficients,
            });
        });
    let [parameters, first, second] = new.map(|values| tensor::<B>(values, [length], &device));
    (parameters, first, second)
}

/// A piece of a step of AdamW.
struct AdamWPass<'a> {
    /// Parameters, first moment, second moment, gradient.
    from: [&'a [f32]; 4],
    /// Parameters, first moment, second moment.
    to: [&'a mut [f32]; 3],
    gradient_scale: f32,
    c: Coefficients,
}

impl Kernel for AdamWPass<'_> {
    type Output = ();

    // The compiler makes vectors of this loop, of the level's own length.
    #[inline(always)]
    fn with<S: Simd>(self, _simd: S) {
        let Self {
            gradient_scale, c, ..
        } = self;
        let [p, m, v] = self.to;
        let length = p.len();
        let [from_p, from_m, from_v, gradient] = self.from.map(|from| &from[..length]);
        let (m, v) = (&mut m[..length], &mut v[..length]);
        for i in 0..length {
            let g = gradient[i] * gradient_scale;
            m[i] = from_m[i] * c.beta_1 + g * c.one_minus_beta_1;
            v[i] = from_v[i] * c.beta_2 + g * g * c.one_minus_beta_2;
            let root = v[i].sqrt() * c.root_factor + c.epsilon;
            p[i] = from_p[i] * c.kept - m[i] / root * c.step_size;
        }
    }
}

fn average_on_host<B: Host>(
    from: FloatTensor<B>,
    to: FloatTensor<B>,
    factors: [f32; 2],
) -> FloatTensor<B> {
    let device = from.device();
    let (from, to) = (Numbers::<B>::plain(from), Numbers::<B>::plain(to));
    let length = from.get().len();
    let averaged = filled(length, |averaged| {
        averaged
            .par_chunks_mut(PIECE)
            .zip(from.get().par_chunks(PIECE))
            .zip(to.get().par_chunks(PIECE))
            .for_each(|((averaged, from), to)| {
                run(AveragePass {
                    from: [from, to],
                    factors,
                    averaged,
                });
            });
    });
    tensor::<B>(averaged, [length], &device)
}

/// A piece of a moving average.
struct AveragePass<'a> {
    from: [&'a [f32]; 2],
    factors: [f32; 2],
    averaged: &'a mut [f32],
}

impl Kernel for AveragePass<'_> {
    type Output = ();

    #[inline(always)]
    fn with<S: Simd>(self, _simd: S) {
        let length = self.averaged.len();
        let [from, to] = self.from.map(|from| &from[..length]);
        let [kept, taken] = self.factors;
        for i in 0..length {
            self.averaged[i] = from[i] * kept + to[i] * taken;
        }
    }
}

fn square_sum_on_host<B: Host>(x: FloatTensor<B>) -> FloatTensor<B> {
    let device = x.device();
    let x = Numbers::<B>::plain(x);
    // Gathered in order, so that the sum does not depend on which thread is done first.
    let pieces: Vec<f64> = x
        .get()
        .par_chunks(PIECE)
        .map(|x| run(SquareSum { x }))
        .collect();
    small_tensor::<B>(vec![pieces.iter().sum::<f64>() as f32], [1], &device)
}

/// The sum of the squares of a piece.
struct SquareSum<'a> {
    x: &'a [f32],
}

/// Sums side by side, so that the compiler may make vectors of them.
const SUMS: usize = 32;

impl Kernel for SquareSum<'_> {
    type Output = f64;

    #[inline(always)]
    fn with<S: Simd>(self, _simd: S) -> f64 {
        let mut sums = [0.0f64; SUMS];
        let whole = self.x.len() / SUMS * SUMS;
        let mut at = 0;
        while at < whole {
            for i in 0..SUMS {
                let x = f64::from(self.x[at + i]);
                sums[i] += x * x;
            }
            at += SUMS;
        }
        let mut total = 0.0;
        for sum in sums {
            total += sum;
        }
        for i in whole..self.x.len() {
            let x = f64::from(self.x[i]);
            total += x * x;
        }
        total
    }
}
