//! The kernels as operations that are sent to a worker.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Remote, TensorMetadata};
use burn::remote::CustomOpClient;
use burn::tensor::{DType, Shape};
use burn_ir::{CustomOpIr, ScalarIr, TensorIr};

use super::name;
use super::numbers::Number;
use crate::cpu::host::dims4;
use crate::cpu::optimizer::Coefficients;
use crate::images::{
    Added, Attended, Convolved, ImageKernels, NormGradients, NormOptions, Normalised,
    ParameterGradients, Window,
};
use crate::optimizer::OptimizerOps;

type Float = FloatTensor<Remote>;

/// An operation that is being written.
struct Request {
    client: CustomOpClient,
    inputs: Vec<TensorIr>,
    numbers: Vec<ScalarIr>,
}

impl Request {
    /// To the worker that has a tensor, which is the first input.
    fn with(x: Float) -> Self {
        let request = Self {
            client: CustomOpClient::new(&x.device()),
            inputs: Vec::new(),
            numbers: Vec::new(),
        };
        request.and(x)
    }

    fn and(mut self, x: Float) -> Self {
        self.inputs.push(x.into_ir());
        self
    }

    /// Whether there is one, and it.
    fn and_maybe(self, x: Option<Float>) -> Self {
        let request = self.number(x.is_some());
        match x {
            Some(x) => request.and(x),
            None => request,
        }
    }

    fn number(mut self, number: impl Number) -> Self {
        number.write(&mut self.numbers);
        self
    }

    /// Sends it. The results will have these shapes.
    fn send(self, name: &'static str, shapes: &[&[usize]]) -> Results {
        let outputs: Vec<TensorIr> = shapes
            .iter()
            .map(|shape| {
                let id = self.client.create_empty_handle();
                TensorIr::uninit(id, Shape::from(shape.to_vec()), DType::F32)
            })
            .collect();
        let op = CustomOpIr::with_scalars(name, &self.inputs, &outputs, self.numbers);
        Results(self.client.register(op))
    }
}

/// The results of an operation, of as many shapes as were sent.
struct Results(Vec<Float>);

impl Results {
    fn take<const N: usize>(self) -> [Float; N] {
        let count = self.0.len();
        match self.0.try_into() {
            Ok(results) => results,
            Err(_) => unreachable!("{count} results and not {N}"),
        }
    }
}

fn convolved(of: &Convolved<Remote>, dy: Float) -> Request {
    Request::with(of.x.clone())
        .and(of.weight.clone())
        .number(of.window)
        .number(of.has_per_example)
        .and(dy)
}

impl ImageKernels for Remote {
    fn convolve(
        x: Float,
        weight: Float,
        added: Added<Self>,
        window: Window,
        is_training: bool,
    ) -> (Float, Convolved<Self>) {
        let dims = dims4::<Self>(&x);
        let output = window.shape(dims, dims4::<Self>(&weight)).output_dims();
        let has_per_example = added.per_example.is_some();
        let request = Request::with(x)
            .and(weight.clone())
            .and_maybe(added.bias)
            .and_maybe(added.per_example)
            .and_maybe(added.residual)
            .number(window)
            .number(is_training);
        let [y, x] = request.send(name::CONVOLVE, &[&output, &dims]).take();
        let of = Convolved {
            x,
            weight,
            window,
            has_per_example,
        };
        (y, of)
    }

    fn parameter_gradients(of: &Convolved<Self>, dy: Float) -> ParameterGradients<Self> {
        let [batch, out, ..] = dims4::<Self>(&dy);
        let shapes: [&[usize]; 3] = [&dims4::<Self>(&of.weight), &[out], &[batch, out]];
        let shapes = &shapes[..2 + usize::from(of.has_per_example)];
        let Results(mut found) = convolved(of, dy).send(name::PARAMETER_GRADIENTS, shapes);
        let per_example = of.has_per_example.then(|| found.pop()).flatten();
        let [weight, bias] = Results(found).take();
        ParameterGradients {
            weight,
            bias,
            per_example,
        }
    }

    fn input_gradient(of: &Convolved<Self>, dy: Float) -> Float {
        let dims = dims4::<Self>(&of.x);
        let [dx] = convolved(of, dy)
            .send(name::INPUT_GRADIENT, &[&dims])
            .take();
        dx
    }

    fn normalise(
        x: Float,
        gamma: Float,
        beta: Float,
        scale_shift: Option<Float>,
        options: NormOptions,
    ) -> (Float, Normalised<Self>) {
        let dims @ [batch, ..] = dims4::<Self>(&x);
        let request = Request::with(x)
            .and(gamma.clone())
            .and(beta.clone())
            .and_maybe(scale_shift.clone())
            .number(options);
        let shapes: [&[usize]; 3] = [&dims, &dims, &[batch, options.groups, 2]];
        let [y, x, moments] = request.send(name::NORMALISE, &shapes).take();
        let of = Normalised {
            x,
            moments,
            gamma,
            beta,
            scale_shift,
            options,
        };
        (y, of)
    }

    fn norm_gradients(
        of: &Normalised<Self>,
        dy: Float,
        so_far: Option<Float>,
    ) -> NormGradients<Self> {
        let Normalised {
            x,
            moments,
            gamma,
            beta,
            scale_shift,
            options,
        } = of.clone();
        let dims @ [batch, channels, ..] = dims4::<Self>(&x);
        let is_scaled = scale_shift.is_some();
        let request = Request::with(x)
            .and(moments)
            .and(gamma)
            .and(beta)
            .and_maybe(scale_shift)
            .number(options)
            .and(dy)
            .and_maybe(so_far);
        let shapes: [&[usize]; 4] = [&dims, &[channels], &[channels], &[batch, 2 * channels]];
        let shapes = &shapes[..3 + usize::from(is_scaled)];
        let Results(mut found) = request.send(name::NORM_GRADIENTS, shapes);
        let scale_shift = is_scaled.then(|| found.pop()).flatten();
        let [x, gamma, beta] = Results(found).take();
        NormGradients {
            x,
            gamma,
            beta,
            scale_shift,
        }
    }

    fn attend(inputs: [Float; 3], heads: usize) -> (Float, Attended<Self>) {
        let [q, k, v] = inputs;
        let dims @ [batch, _, height, width] = dims4::<Self>(&q);
        let request = Request::with(q).and(k).and(v).number(heads);
        let shapes: [&[usize]; 5] = [&dims, &dims, &dims, &dims, &[batch, heads, height * width]];
        let [o, q, k, v, kept] = request.send(name::ATTEND, &shapes).take();
        let of = Attended {
            inputs: [q, k, v],
            o: o.clone(),
            kept,
            heads,
        };
        (o, of)
    }

    fn attention_gradients(of: &Attended<Self>, gradient: Float) -> [Float; 3] {
        let dims = dims4::<Self>(&gradient);
        let [q, k, v] = of.inputs.clone();
        let request = Request::with(q)
            .and(k)
            .and(v)
            .and(of.o.clone())
            .and(of.kept.clone())
            .number(of.heads)
            .and(gradient);
        let shapes: [&[usize]; 3] = [&dims; 3];
        request.send(name::ATTENTION_GRADIENTS, &shapes).take()
    }

    fn join_channels(first: Float, second: Float) -> Float {
        let ([batch, a, height, width], [_, b, ..]) =
            (dims4::<Self>(&first), dims4::<Self>(&second));
        let request = Request::with(first).and(second);
        let shape = [batch, a + b, height, width];
        let [joined] = request.send(name::JOIN_CHANNELS, &[&shape]).take();
        joined
    }

    fn part_channels(joined: Float, first: usize) -> [Float; 2] {
        let [batch, channels, height, width] = dims4::<Self>(&joined);
        let shape = |channels| [batch, channels, height, width];
        let request = Request::with(joined).number(first);
        let shapes: [&[usize]; 2] = [&shape(first), &shape(channels - first)];
        request.send(name::PART_CHANNELS, &shapes).take()
    }

    fn sum(a: Float, b: Float) -> Float {
        let shape = a.shape();
        let request = Request::with(a).and(b);
        let [sum] = request.send(name::SUM, &[shape.as_slice()]).take();
        sum
    }
}

impl OptimizerOps for Remote {
    fn adamw_pass(
        parameters: Float,
        first: Float,
        second: Float,
        gradient: Float,
        gradient_scale: Float,
        coefficients: Coefficients,
    ) -> (Float, Float, Float) {
        let shape = parameters.shape();
        let request = Request::with(parameters)
            .and(first)
            .and(second)
            .and(gradient)
            .and(gradient_scale)
            .number(coefficients);
        let [parameters, first, second] = request.send(name::ADAMW, &[shape.as_slice(); 3]).take();
        (parameters, first, second)
    }

    fn average_pass(from: Float, to: Float, taken: f32) -> Float {
        let shape = from.shape();
        let request = Request::with(from).and(to).number(taken);
        let [average] = request
            .send(name::MOVING_AVERAGE, &[shape.as_slice()])
            .take();
        average
    }

    fn square_sum(x: Float) -> Float {
        let [sum] = Request::with(x).send(name::SUM_OF_SQUARES, &[&[1]]).take();
        sum
    }
}
