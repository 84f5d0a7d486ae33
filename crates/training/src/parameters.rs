//! All parameters of a network as one flat vector, and back.
//!
//! The optimiser, the moving average and the gradient norm are each a few operations on one long
//! vector: the formulas stand as in the papers, and a GPU launches a handful of kernels a step
//! where one set for each of a hundred tensors would be needed. The order is the order in which
//! burn visits the module's fields. On a GPU there are zeros between the parameters, so that each of them
//! is a part of the vector that is used where it lies; they are zeros in every vector, and stay so.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor};
use kernels::{join_vectors, vector_alignment};

/// The parameters of `module` in visiting order, detached from any gradient graph: `[N]`.
///
/// # Panics
/// When `module` has no parameter.
pub fn flatten<M: Module>(module: &M) -> Tensor<1> {
    struct Flatten(Vec<Tensor<1>>);
    impl ModuleVisitor for Flatten {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.val().inner().flatten(0, D - 1));
        }
    }
    let mut flatten = Flatten(Vec::new());
    module.visit(&mut flatten);
    assert!(!flatten.0.is_empty(), "the module has no parameter");
    let home = flatten.0[0].device();
    join_vectors(flatten.0, vector_alignment(&home))
}

/// The gradient of every parameter of `module`, in the order of [`flatten`]: `[N]`. A parameter
/// that the loss does not depend on has gradient zero.
///
/// # Panics
/// When `module` has no parameter.
pub fn flatten_gradients<M: Module>(module: &M, gradients: &mut Gradients) -> Tensor<1> {
    let parts = gradients_of(module, gradients);
    assert!(!parts.is_empty(), "the module has no parameter");
    let home = parts[0].device();
    join_vectors(parts, vector_alignment(&home))
}

/// [`flatten_gradients`], laid out as the vectors of the device `home` are.
pub(crate) fn flatten_gradients_for<M: Module>(
    module: &M,
    gradients: &mut Gradients,
    home: &Device,
) -> Tensor<1> {
    join_vectors(gradients_of(module, gradients), vector_alignment(home))
}

/// The gradient of every parameter, as a vector each.
fn gradients_of<M: Module>(module: &M, gradients: &mut Gradients) -> Vec<Tensor<1>> {
    struct FlattenGradients<'a> {
        gradients: &'a mut Gradients,
        flat: Vec<Tensor<1>>,
    }
    impl ModuleVisitor for FlattenGradients<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            let gradient = value
                .grad_remove(self.gradients)
                .unwrap_or_else(|| value.inner().zeros_like());
            self.flat.push(gradient.flatten(0, D - 1));
        }
    }
    let mut visitor = FlattenGradients {
        gradients,
        flat: Vec::new(),
    };
    module.visit(&mut visitor);
    visitor.flat
}

/// `module` with its parameters replaced by `flat`, the inverse of [`flatten`]. Each parameter
/// keeps its identity, and requires a gradient if it did before.
///
/// # Panics
/// When `flat` does not hold exactly as many values as `module` has parameters.
pub fn unflatten<M: Module>(module: M, flat: Tensor<1>) -> M {
    let home = flat.device();
    unflatten_of(module, flat, &home)
}

/// [`unflatten`] of a vector that is laid out as those of the device `home`, on whatever device it is now.
pub(crate) fn unflatten_of<M: Module>(module: M, flat: Tensor<1>, home: &Device) -> M {
    struct Unflatten {
        flat: Tensor<1>,
        position: usize,
        alignment: usize,
    }
    impl ModuleMapper for Unflatten {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, old, mapper) = param.consume();
            let length = old.dims().iter().product();
            let new = self
                .flat
                .clone()
                .narrow(0, self.position, length)
                .reshape(old.dims());
            self.position += length.next_multiple_of(self.alignment);
            let new = if old.is_autodiff() {
                Tensor::from_inner(new).set_require_grad(old.is_require_grad())
            } else {
                new
            };
            Param::from_mapped_value(id, new, mapper)
        }
    }
    let [length] = flat.dims();
    let mut unflatten = Unflatten {
        alignment: vector_alignment(home),
        flat,
        position: 0,
    };
    let module = module.map(&mut unflatten);
    assert_eq!(
        unflatten.position, length,
        "the vector must hold the module's parameters and nothing else"
    );
    module
}
