//! SiLU as one launch each way. As burn's operations it is a dozen.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, backend_extension};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::tensor::{element, empty, one_a_number};
use crate::gradients::{take, tracked};

/// y = x σ(x)
#[cube(launch)]
fn activate<F: Float>(x: &Tensor<F>, y: &mut Tensor<F>, #[define(F)] _dtype: ElemType) {
    let i = ABSOLUTE_POS;
    if i >= y.len() {
        terminate!();
    }
    let x = f32::cast_from(x[i]);
    y[i] = F::cast_from(x / (1.0f32 + (-x).exp()));
}

/// ∂L/∂x = ∂L/∂y σ(x) (1 + x (1 − σ(x)))
#[cube(launch)]
fn activate_backward<F: Float>(
    x: &Tensor<F>,
    dy: &Tensor<F>,
    dx: &mut Tensor<F>,
    #[define(F)] _dtype: ElemType,
) {
    let i = ABSOLUTE_POS;
    if i >= dx.len() {
        terminate!();
    }
    let x = f32::cast_from(x[i]);
    let sigmoid = 1.0f32 / (1.0f32 + (-x).exp());
    let slope = sigmoid * (1.0f32 + x * (1.0f32 - sigmoid));
    dx[i] = F::cast_from(f32::cast_from(dy[i]) * slope);
}

/// SiLU as burn's backends see it.
#[backend_extension(Cube, Autodiff)]
pub(crate) trait Activation: Backend {
    /// x σ(x) of each number.
    fn activation(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl Activation for CubeBackend {
    fn activation(x: CubeTensor) -> CubeTensor {
        forward(into_contiguous(x))
    }
}

impl<C: CheckpointStrategy> Activation for Autodiff<CubeBackend, C> {
    fn activation(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, to_x) = x.into_parts();
        let x = into_contiguous(x);
        let y = forward(x.clone());
        let prepared = Backward::<CubeBackend, 1>::prepare::<C>(ActivationBackward, [to_x]);
        match prepared.compute_bound().stateful() {
            OpsKind::Tracked(prep) => tracked::<CubeBackend, C>(prep.finish(x, y)),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

/// The gradient of SiLU, which needs x.
#[derive(Debug)]
struct ActivationBackward;

impl Backward<CubeBackend, 1> for ActivationBackward {
    type State = CubeTensor;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let dy = take::<CubeBackend, _, _>(&ops, grads);
        let [to_x] = ops.parents;
        if let Some(node) = to_x {
            grads.register::<CubeBackend>(node.id, backward(ops.state, into_contiguous(dy)));
        }
    }
}

fn forward(x: CubeTensor) -> CubeTensor {
    let y = empty(&x, x.meta.shape().clone(), x.dtype);
    let (cubes, units) = one_a_number(&y, y.meta.num_elements());
    activate::launch(
        &y.client,
        cubes,
        units,
        x.into_tensor_arg(),
        y.clone().into_tensor_arg(),
        element(&y),
    );
    y
}

fn backward(x: CubeTensor, dy: CubeTensor) -> CubeTensor {
    let dx = empty(&x, x.meta.shape().clone(), x.dtype);
    let (cubes, units) = one_a_number(&dx, dx.meta.num_elements());
    activate_backward::launch(
        &dx.client,
        cubes,
        units,
        x.into_tensor_arg(),
        dy.into_tensor_arg(),
        dx.clone().into_tensor_arg(),
        element(&dx),
    );
    dx
}
