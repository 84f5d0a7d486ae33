//! The kernels as a worker computes them for clients.
//!
//! A client that has the token may send anything: an operation that makes no sense panics, which ends its session and
//! no other.

use std::slice;

use burn::backend::tensor::FloatTensor;
use burn::backend::{DispatchDevice, TensorMetadata};
use burn::server::{CustomOpIr, CustomOpRegistry, HandleContainer, RemoteServer};
use burn::tensor::{DType, Device};
use burn_ir::{BackendIr, ScalarIr, TensorIr};

use super::name;
use super::numbers::Number;
use crate::images::{Added, Attended, Convolved, ImageKernels, Normalised, assert_shape};
use crate::optimizer::OptimizerOps;

/// A server of devices such as this one with the kernels of this crate for them; see
/// [`WORKER_OPERATIONS`](super::WORKER_OPERATIONS).
#[must_use]
pub fn with_kernels(server: RemoteServer, device: &Device) -> RemoteServer {
    match device.as_dispatch() {
        #[cfg(feature = "flex")]
        DispatchDevice::Flex(_) => server.with_custom_ops(operations::<burn::backend::Flex>()),
        #[cfg(feature = "ndarray")]
        DispatchDevice::NdArray(_) => {
            server.with_custom_ops(operations::<burn::backend::NdArray>())
        }
        #[cfg(feature = "gpu")]
        DispatchDevice::Cube(_) => server.with_custom_ops(operations::<burn_cubecl::CubeBackend>()),
        _ => server,
    }
}

/// An operation that is being read.
struct Request<'a, B: BackendIr> {
    handles: &'a mut HandleContainer<B::Handle>,
    inputs: slice::Iter<'a, TensorIr>,
    numbers: slice::Iter<'a, ScalarIr>,
    outputs: &'a [TensorIr],
}

impl<'a, B: BackendIr> Request<'a, B> {
    fn new(handles: &'a mut HandleContainer<B::Handle>, op: &'a CustomOpIr) -> Self {
        Self {
            handles,
            inputs: op.inputs.iter(),
            numbers: op.scalars.iter(),
            outputs: &op.outputs,
        }
    }

    fn tensor(&mut self) -> FloatTensor<B> {
        let Some(input) = self.inputs.next() else {
            panic!("a tensor is missing");
        };
        assert!(input.dtype == DType::F32, "numbers of {:?}", input.dtype);
        let tensor = self.handles.get_float_tensor::<B>(input);
        let (dtype, shape) = (tensor.dtype(), tensor.shape());
        assert!(
            dtype == DType::F32 && shape.num_elements() > 0,
            "a tensor {:?} of {dtype:?}",
            shape.as_slice()
        );
        tensor
    }

    fn image(&mut self) -> FloatTensor<B> {
        let image = self.tensor();
        let rank = image.shape().num_dims();
        assert!(rank == 4, "an image of {rank} axes");
        image
    }

    fn vector(&mut self, length: usize) -> FloatTensor<B> {
        let vector = self.tensor();
        assert_shape::<B>("a vector", &vector, &[length]);
        vector
    }

    fn maybe_tensor(&mut self) -> Option<FloatTensor<B>> {
        self.number::<bool>().then(|| self.tensor())
    }

    fn number<T: Number>(&mut self) -> T {
        T::read(&mut self.numbers)
    }

    /// Gives the results, in the order that the client expects.
    fn answer(self, results: impl IntoIterator<Item = FloatTensor<B>>) {
        let mut outputs = self.outputs.iter();
        for result in results {
            let Some(output) = outputs.next() else {
                panic!("a result that the client does not expect");
            };
            self.handles.register_float_tensor::<B>(&output.id, result);
        }
        assert!(
            outputs.next().is_none(),
            "a client that expects more results"
        );
    }

    fn convolved(&mut self) -> Convolved<B>
    where
        B: ImageKernels,
    {
        Convolved {
            x: self.image(),
            weight: self.image(),
            window: self.number(),
            has_per_example: self.number(),
        }
    }
}

/// All operations, by name: see [`name`].
fn operations<B: ImageKernels + OptimizerOps + BackendIr>() -> CustomOpRegistry<B> {
    let mut operations = CustomOpRegistry::default();
    let mut register = |name, compute: fn(Request<'_, B>)| {
        operations.register(name, move |handles, op, _: &B::Device| {
            compute(Request::new(handles, op));
        });
    };

    register(name::CONVOLVE, |mut request| {
        let (x, weight) = (request.image(), request.image());
        let added = Added {
            bias: request.maybe_tensor(),
            per_example: request.maybe_tensor(),
            residual: request.maybe_tensor(),
        };
        let (window, is_training) = (request.number(), request.number());
        let (y, of) = B::convolve(x, weight, added, window, is_training);
        request.answer([y, of.x]);
    });
    register(name::PARAMETER_GRADIENTS, |mut request| {
        let of = request.convolved();
        let found = B::parameter_gradients(&of, request.image());
        let always = [found.weight, found.bias];
        request.answer(always.into_iter().chain(found.per_example));
    });
    register(name::INPUT_GRADIENT, |mut request| {
        let of = request.convolved();
        let dx = B::input_gradient(&of, request.image());
        request.answer([dx]);
    });

    register(name::NORMALISE, |mut request| {
        let (x, gamma, beta) = (request.image(), request.tensor(), request.tensor());
        let scale_shift = request.maybe_tensor();
        let (y, of) = B::normalise(x, gamma, beta, scale_shift, request.number());
        request.answer([y, of.x, of.moments]);
    });
    register(name::NORM_GRADIENTS, |mut request| {
        let of = Normalised {
            x: request.image(),
            moments: request.tensor(),
            gamma: request.tensor(),
            beta: request.tensor(),
            scale_shift: request.maybe_tensor(),
            options: request.number(),
        };
        let dy = request.image();
        let found = B::norm_gradients(&of, dy, request.maybe_tensor());
        let always = [found.x, found.gamma, found.beta];
        request.answer(always.into_iter().chain(found.scale_shift));
    });

    register(name::ATTEND, |mut request| {
        let inputs = [request.image(), request.image(), request.image()];
        let (o, of) = B::attend(inputs, request.number());
        let [q, k, v] = of.inputs;
        request.answer([o, q, k, v, of.kept]);
    });
    register(name::ATTENTION_GRADIENTS, |mut request| {
        let of = Attended {
            inputs: [request.image(), request.image(), request.image()],
            o: request.image(),
            kept: request.tensor(),
            heads: request.number(),
        };
        let found = B::attention_gradients(&of, request.image());
        request.answer(found);
    });

    register(name::JOIN_CHANNELS, |mut request| {
        let joined = B::join_channels(request.image(), request.image());
        request.answer([joined]);
    });
    register(name::PART_CHANNELS, |mut request| {
        let parts = B::part_channels(request.image(), request.number());
        request.answer(parts);
    });
    register(name::SUM, |mut request| {
        let sum = B::sum(request.tensor(), request.tensor());
        request.answer([sum]);
    });

    register(name::ADAMW, |mut request| {
        let parameters = request.tensor();
        let length = parameters.shape().num_elements();
        assert_shape::<B>("parameters", &parameters, &[length]);
        let (first, second) = (request.vector(length), request.vector(length));
        let (gradient, scale) = (request.vector(length), request.vector(1));
        let coefficients = request.number();
        let (parameters, first, second) =
            B::adamw_pass(parameters, first, second, gradient, scale, coefficients);
        request.answer([parameters, first, second]);
    });
    register(name::MOVING_AVERAGE, |mut request| {
        let from = request.tensor();
        let length = from.shape().num_elements();
        assert_shape::<B>("a vector", &from, &[length]);
        let to = request.vector(length);
        let average = B::average_pass(from, to, request.number());
        request.answer([average]);
    });
    register(name::SUM_OF_SQUARES, |mut request| {
        let sum = B::square_sum(request.tensor());
        request.answer([sum]);
    });
    operations
}
