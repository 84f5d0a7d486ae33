//! All parameters of a network as one flat vector, and back.
//!
//! The optimiser, the moving average and the gradient norm are each a few operations on one long
//! vector: the formulas stand as in the papers, and a GPU launches a handful of kernels a step
//! where one set for each of a hundred tensors would be needed. The order is the order in which
//! burn visits the module's fields. On a GPU there are zeros between the parameters, and the weights of
//! convolutions lie with their inputs last, so that each is a part of the vector that is used where it lies;
//! the zeros are zeros in every vector, and stay so. Files know nothing of it.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor};
use kernels::{inputs_lie_last, join_vectors, vector_alignment};

/// How the parameters lie in the vectors of a device.
#[derive(Clone, Copy)]
struct Layout {
    /// Each begins at a multiple of so many numbers.
    alignment: usize,
    /// Whether a weight `[out, in, height, width]` is `[out, height, width, in]` in the vector.
    inputs_last: bool,
}

impl Layout {
    fn of(device: &Device) -> Self {
        Self {
            alignment: vector_alignment(device),
            inputs_last: inputs_lie_last(device),
        }
    }

    /// The order of a parameter's axes in the vector, and the way back.
    fn axes<const D: usize>(self) -> Option<[[isize; D]; 2]> {
        let of_weight = self.inputs_last && D == 4;
        let order = |axes: [isize; 4]| std::array::from_fn(|axis| axes[axis]);
        of_weight.then(|| [[0, 2, 3, 1], [0, 3, 1, 2]].map(order))
    }

    fn to_vector<const D: usize>(self, parameter: Tensor<D>) -> Tensor<1> {
        let parameter = match self.axes() {
            Some([there, _]) => parameter.permute(there),
            None => parameter,
        };
        parameter.flatten(0, D - 1)
    }

    fn of_vector<const D: usize>(self, vector: Tensor<1>, dims: [usize; D]) -> Tensor<D> {
        match self.axes::<D>() {
            Some([there, back]) => vector
                .reshape(there.map(|axis| dims[axis as usize]))
                .permute(back),
            None => vector.reshape(dims),
        }
    }
}

/// The parts of a vector as they are visited; without a layout, that of the device of the first.
struct Parts {
    layout: Option<Layout>,
    vectors: Vec<Tensor<1>>,
}

impl Parts {
    fn new(layout: Option<Layout>) -> Self {
        Self {
            layout,
            vectors: Vec::new(),
        }
    }

    fn push<const D: usize>(&mut self, part: Tensor<D>) {
        let layout = *self
            .layout
            .get_or_insert_with(|| Layout::of(&part.device()));
        self.vectors.push(layout.to_vector(part));
    }

    fn join(self) -> Tensor<1> {
        match self.layout {
            Some(layout) if !self.vectors.is_empty() => {
                join_vectors(self.vectors, layout.alignment)
            }
            _ => panic!("the module has no parameter"),
        }
    }
}

/// The parameters of `module` in visiting order, detached from any gradient graph: `[N]`.
///
/// # Panics
/// When `module` has no parameter.
pub fn flatten<M: Module>(module: &M) -> Tensor<1> {
    struct Flatten(Parts);
    impl ModuleVisitor for Flatten {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.val().inner());
        }
    }
    let mut flatten = Flatten(Parts::new(None));
    module.visit(&mut flatten);
    flatten.0.join()
}

/// The gradient of every parameter of `module`, in the order of [`flatten`]: `[N]`. A parameter
/// that the loss does not depend on has gradient zero.
///
/// # Panics
/// When `module` has no parameter.
pub fn flatten_gradients<M: Module>(module: &M, gradients: &mut Gradients) -> Tensor<1> {
    gradients_of(module, std::slice::from_mut(gradients), None)
}

/// [`flatten_gradients`] of several parts, in one of which each parameter's is, laid out as the vectors of the device
/// `home` are.
pub(crate) fn flatten_gradients_for<M: Module>(
    module: &M,
    gradients: &mut [Gradients],
    home: &Device,
) -> Tensor<1> {
    gradients_of(module, gradients, Some(Layout::of(home)))
}

fn gradients_of<M: Module>(
    module: &M,
    gradients: &mut [Gradients],
    layout: Option<Layout>,
) -> Tensor<1> {
    struct FlattenGradients<'a> {
        gradients: &'a mut [Gradients],
        parts: Parts,
    }
    impl ModuleVisitor for FlattenGradients<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            let gradient = self
                .gradients
                .iter_mut()
                .find_map(|part| value.grad_remove(part))
                .unwrap_or_else(|| value.inner().zeros_like());
            self.parts.push(gradient);
        }
    }
    let mut visitor = FlattenGradients {
        gradients,
        parts: Parts::new(layout),
    };
    module.visit(&mut visitor);
    visitor.parts.join()
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
        layout: Layout,
    }
    impl ModuleMapper for Unflatten {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, old, mapper) = param.consume();
            let length = old.dims().iter().product();
            let part = self.flat.clone().narrow(0, self.position, length);
            let new = self.layout.of_vector(part, old.dims());
            self.position += length.next_multiple_of(self.layout.alignment);
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
        layout: Layout::of(home),
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
