//! The flat vector of all parameters, and what an optimiser does to it, each in one pass over memory.
//!
//! With burn's operations AdamW alone takes a dozen passes, each with a vector of its own that is
//! allocated, filled and dropped.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Device, Tensor};

use crate::cpu::optimizer::{Coefficients, adamw_on_host, average_on_host, square_sum_on_host};
use crate::place::place_of;

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
    if has_pass(&state.parameters) {
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

/// `from` + (`to` − `from`)(1 − `decay`): a step of an exponential moving average. All `[N]`.
///
/// Not `decay` · `from` + (1 − `decay`) · `to`, whose two factors, each rounded to f32, do not add up to 1:
/// the average would then be drawn towards zero (or away from it) at every step.
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
    if has_pass(&from) {
        return Tensor::from_dispatch(Dispatch::average_pass(
            from.into_dispatch(),
            to.into_dispatch(),
            (1.0 - decay) as f32,
        ));
    }
    from.clone() + (to - from) * (1.0 - decay)
}

/// The sum of the squares of a vector `[N]`: `[1]`.
#[must_use]
pub fn sum_of_squares(x: Tensor<1>) -> Tensor<1> {
    if has_pass(&x) {
        return Tensor::from_dispatch(Dispatch::square_sum(x.into_dispatch()));
    }
    x.square().sum()
}

/// At what multiples of numbers the parts of a long vector should start, so that each can be used where it
/// lies: 1 on CPUs, more on GPUs, which else copy every part that is taken out.
#[must_use]
pub fn vector_alignment(device: &Device) -> usize {
    #[cfg(feature = "gpu")]
    if let Some(alignment) = crate::gpu::vector_alignment(device) {
        return alignment;
    }
    let _ = device;
    1
}

/// The most numbers that a vector on a device can have; `None` where only memory limits them, as on CPUs.
#[must_use]
pub fn longest_vector(device: &Device) -> Option<u64> {
    #[cfg(feature = "gpu")]
    if let Some(bytes) = crate::gpu::largest_buffer(device) {
        return Some(bytes / size_of::<f32>() as u64);
    }
    let _ = device;
    None
}

/// Whether the weights of convolutions, `[out, in, height, width]`, should lie in memory as `[out, height, width, in]`:
/// on GPUs, which else copy each of them whenever it is used.
#[must_use]
pub fn inputs_lie_last(device: &Device) -> bool {
    #[cfg(feature = "gpu")]
    if crate::gpu::vector_alignment(device).is_some() {
        return true;
    }
    let _ = device;
    false
}

/// The parts in one vector, each at a multiple of `alignment` numbers, as [`vector_alignment`] has it; what
/// lies between them, and behind the last, is zero.
///
/// # Panics
///
/// If there is no part, or `alignment` is 0.
#[must_use]
pub fn join_vectors(parts: Vec<Tensor<1>>, alignment: usize) -> Tensor<1> {
    assert!(!parts.is_empty(), "no vector to join");
    #[cfg(feature = "gpu")]
    if parts.iter().all(has_pass) {
        let mut length = 0;
        let mut starts = Vec::with_capacity(parts.len());
        for part in &parts {
            starts.push(length);
            length += part.dims()[0].next_multiple_of(alignment);
        }
        let on_cube = |part: Tensor<1>| part.try_into_primitive::<burn_cubecl::CubeBackend>();
        if let Ok(parts) = parts.iter().cloned().map(on_cube).collect::<Result<_, _>>() {
            let joined = crate::gpu::join(parts, &starts, length);
            return Tensor::from_primitive::<burn_cubecl::CubeBackend>(joined);
        }
    }
    let padded = parts.into_iter().flat_map(|part| {
        let [length] = part.dims();
        let missing = length.next_multiple_of(alignment) - length;
        let zeros = (missing > 0).then(|| Tensor::zeros([missing], &part.device()));
        std::iter::once(part).chain(zeros)
    });
    Tensor::cat(padded.collect(), 0)
}

/// Whether the kernels take the vector. Nothing here has a gradient.
fn has_pass(x: &Tensor<1>) -> bool {
    !x.is_autodiff() && x.dims() != [0] && x.dtype() == DType::F32 && place_of(x).is_some()
}

/// The passes.
#[backend_extension(
    Flex: cfg(feature = "flex"),
    NdArray: cfg(feature = "ndarray"),
    Cube: cfg(feature = "gpu"),
    Remote: cfg(feature = "remote")
)]
pub(crate) trait OptimizerOps: Backend {
    /// See [`adamw`]: the parameters and both moments.
    fn adamw_pass(
        parameters: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        gradient_scale: FloatTensor<Self>,
        coefficients: Coefficients,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// See [`moving_average`]; how much of the difference is taken.
    fn average_pass(
        from: FloatTensor<Self>,
        to: FloatTensor<Self>,
        taken: f32,
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
                taken: f32,
            ) -> FloatTensor<Self> {
                average_on_host::<Self>(from, to, taken)
            }

            fn square_sum(x: FloatTensor<Self>) -> FloatTensor<Self> {
                square_sum_on_host::<Self>(x)
            }
        }
    };
}

host_passes!("flex", Flex);
host_passes!("ndarray", NdArray);

#[cfg(feature = "gpu")]
impl OptimizerOps for burn_cubecl::CubeBackend {
    fn adamw_pass(
        parameters: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        gradient_scale: FloatTensor<Self>,
        coefficients: Coefficients,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let old = [parameters, first, second, gradient];
        crate::gpu::adamw(old, gradient_scale, coefficients)
    }

    fn average_pass(
        from: FloatTensor<Self>,
        to: FloatTensor<Self>,
        taken: f32,
    ) -> FloatTensor<Self> {
        crate::gpu::moving_average(from, to, taken)
    }

    fn square_sum(x: FloatTensor<Self>) -> FloatTensor<Self> {
        crate::gpu::sum_of_squares(x)
    }
}
