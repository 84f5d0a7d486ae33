//! The kernels of images on burn's CPU backends.

use burn::backend::TensorMetadata;
use burn::backend::tensor::FloatTensor;
use rayon::prelude::*;

use crate::cpu::attention::{self, Heads};
use crate::cpu::columns::Shape;
use crate::cpu::concat;
use crate::cpu::convolution;
use crate::cpu::group_norm::{self, Affine, Norm};
use crate::cpu::host::{Host, Numbers, dims4, from_channels_last, small_tensor, tensor};
use crate::cpu::memory::filled;
use crate::images::{
    Added, Attended, Convolved, ImageKernels, NormGradients, NormOptions, Normalised,
    ParameterGradients, Window, assert_shape, check_attention, check_join, check_norm, check_part,
};

impl<B: Host> ImageKernels for B {
    fn convolve(
        x: FloatTensor<B>,
        weight: FloatTensor<B>,
        added: Added<B>,
        window: Window,
        is_training: bool,
    ) -> (FloatTensor<B>, Convolved<B>) {
        let device = x.device();
        let shape = window.shape(dims4::<B>(&x), dims4::<B>(&weight));
        added.check(&shape);
        let (x, weight) = (Numbers::channels_last(x), Numbers::plain(weight));
        let has_per_example = added.per_example.is_some();
        let y = convolution::forward::<B>(&x, &weight, added, &shape, is_training, &device);
        let of = Convolved {
            x: x.into_image(),
            weight: weight.into_tensor(),
            window,
            has_per_example,
        };
        (y, of)
    }

    fn parameter_gradients(of: &Convolved<B>, dy: FloatTensor<B>) -> ParameterGradients<B> {
        let device = dy.device();
        let shape = shape_of(of, &dy);
        let x = Numbers::<B>::channels_last(of.x.clone());
        let dy = Numbers::channels_last(dy);
        convolution::parameter_gradients(&x, &dy, &shape, of.has_per_example, &device)
    }

    fn input_gradient(of: &Convolved<B>, dy: FloatTensor<B>) -> FloatTensor<B> {
        let device = dy.device();
        let shape = shape_of(of, &dy);
        let weight = Numbers::<B>::plain(of.weight.clone());
        convolution::input_gradient(&Numbers::channels_last(dy), &weight, &shape, &device)
    }

    fn normalise(
        x: FloatTensor<B>,
        gamma: FloatTensor<B>,
        beta: FloatTensor<B>,
        scale_shift: Option<FloatTensor<B>>,
        options: NormOptions,
    ) -> (FloatTensor<B>, Normalised<B>) {
        let (device, dims) = (x.device(), dims4::<B>(&x));
        check_norm::<B>(&x, [&gamma, &beta], scale_shift.as_ref(), options.groups);
        let norm = norm_of(dims, options);
        let x = Numbers::<B>::channels_last(x);
        let parameters = Parameters::<B>::new(gamma, beta, scale_shift);
        let (y, moments) = group_norm::forward(&norm, x.get(), parameters.affine());
        let of = Normalised {
            x: x.into_image(),
            moments: tensor::<B>(moments, [norm.batch, norm.groups, 2], &device),
            gamma: parameters.gamma.into_tensor(),
            beta: parameters.beta.into_tensor(),
            scale_shift: parameters.scale_shift.map(Numbers::into_tensor),
            options,
        };
        (from_channels_last::<B>(y, dims, &device), of)
    }

    fn norm_gradients(
        of: &Normalised<B>,
        dy: FloatTensor<B>,
        so_far: Option<FloatTensor<B>>,
    ) -> NormGradients<B> {
        let (device, dims) = (dy.device(), dims4::<B>(&of.x));
        let norm = norm_of(dims, of.options);
        of.check(&dy, so_far.as_ref());
        let so_far = so_far.map(Numbers::<B>::channels_last);
        let Normalised {
            x,
            moments,
            gamma,
            beta,
            scale_shift,
            ..
        } = of.clone();
        let parameters = Parameters::<B>::new(gamma, beta, scale_shift);
        let found = group_norm::backward(
            &norm,
            Numbers::<B>::channels_last(x).get(),
            Numbers::<B>::plain(moments).get(),
            parameters.affine(),
            Numbers::<B>::channels_last(dy).get(),
            so_far.as_ref().map(Numbers::get),
        );
        let channels = norm.channels;
        let small = |values, shape: &[usize]| small_tensor::<B>(values, shape, &device);
        NormGradients {
            x: from_channels_last::<B>(found.x, dims, &device),
            gamma: small(found.gamma, &[channels]),
            beta: small(found.beta, &[channels]),
            scale_shift: (!found.scale_shift.is_empty())
                .then(|| small(found.scale_shift, &[norm.batch, 2 * channels])),
        }
    }

    fn attend(inputs: [FloatTensor<B>; 3], heads: usize) -> (FloatTensor<B>, Attended<B>) {
        let (device, dims) = (inputs[0].device(), dims4::<B>(&inputs[0]));
        check_attention::<B>(&inputs, heads);
        let lengths = heads_of(dims, heads);
        let inputs = inputs.map(Numbers::<B>::channels_last);
        let (o, logs) = attention::forward(&lengths, inputs.each_ref().map(Numbers::get));
        let o = from_channels_last::<B>(o, dims, &device);
        let of = Attended {
            inputs: inputs.map(Numbers::into_image),
            o: o.clone(),
            kept: tensor::<B>(logs, [lengths.batch, heads, lengths.pixels], &device),
            heads,
        };
        (o, of)
    }

    fn attention_gradients(of: &Attended<B>, gradient: FloatTensor<B>) -> [FloatTensor<B>; 3] {
        let (device, dims) = (gradient.device(), dims4::<B>(&gradient));
        let lengths = heads_of(dims, of.heads);
        of.check(&[lengths.batch, of.heads, lengths.pixels], &gradient);
        let [q, k, v] = of.inputs.clone();
        let images = [q, k, v, of.o.clone()].map(Numbers::<B>::channels_last);
        attention::backward(
            &lengths,
            images.each_ref().map(Numbers::get),
            Numbers::<B>::plain(of.kept.clone()).get(),
            Numbers::<B>::channels_last(gradient).get(),
        )
        .map(|found| from_channels_last::<B>(found, dims, &device))
    }

    fn join_channels(first: FloatTensor<B>, second: FloatTensor<B>) -> FloatTensor<B> {
        check_join::<B>(&first, &second);
        let device = first.device();
        let ([batch, a, height, width], [_, b, ..]) = (dims4::<B>(&first), dims4::<B>(&second));
        let [first, second] = [first, second].map(Numbers::<B>::channels_last);
        let joined = concat::join(first.get(), second.get(), [a, b]);
        from_channels_last::<B>(joined, [batch, a + b, height, width], &device)
    }

    fn part_channels(joined: FloatTensor<B>, first: usize) -> [FloatTensor<B>; 2] {
        check_part::<B>(&joined, first);
        let device = joined.device();
        let [batch, channels, height, width] = dims4::<B>(&joined);
        let joined = Numbers::<B>::channels_last(joined);
        [(0, first), (first, channels - first)].map(|(start, count)| {
            let part = concat::part(joined.get(), channels, start, count);
            from_channels_last::<B>(part, [batch, count, height, width], &device)
        })
    }

    fn sum(a: FloatTensor<B>, b: FloatTensor<B>) -> FloatTensor<B> {
        const NUMBERS: usize = 1 << 15;
        let (device, shape) = (a.device(), a.shape());
        assert_shape::<B>("a gradient", &b, shape.as_slice());
        let dims = (shape.num_dims() == 4).then(|| dims4::<B>(&a));
        let layout = |x| match dims {
            Some(_) => Numbers::<B>::channels_last(x),
            None => Numbers::plain(x),
        };
        let (a, b) = (layout(a), layout(b));
        let (a, b) = (a.get(), b.get());
        let sum = filled(a.len(), |sum| {
            sum.par_chunks_mut(NUMBERS)
                .zip(a.par_chunks(NUMBERS))
                .zip(b.par_chunks(NUMBERS))
                .for_each(|((sum, a), b)| {
                    for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
                        *sum = a + b;
                    }
                });
        });
        match dims {
            Some(dims) => from_channels_last::<B>(sum, dims, &device),
            None => tensor::<B>(sum, shape, &device),
        }
    }
}

/// The shape of a convolution, which its gradient fits.
fn shape_of<B: Host>(of: &Convolved<B>, dy: &FloatTensor<B>) -> Shape {
    let shape = of.window.shape(dims4::<B>(&of.x), dims4::<B>(&of.weight));
    assert_shape::<B>("a gradient", dy, &shape.output_dims());
    shape
}

/// The parameters of a normalisation.
struct Parameters<B: Host> {
    gamma: Numbers<B>,
    beta: Numbers<B>,
    scale_shift: Option<Numbers<B>>,
}

impl<B: Host> Parameters<B> {
    fn new(
        gamma: FloatTensor<B>,
        beta: FloatTensor<B>,
        scale_shift: Option<FloatTensor<B>>,
    ) -> Self {
        Self {
            gamma: Numbers::plain(gamma),
            beta: Numbers::plain(beta),
            scale_shift: scale_shift.map(Numbers::plain),
        }
    }

    fn affine(&self) -> Affine<'_> {
        Affine {
            gamma: self.gamma.get(),
            beta: self.beta.get(),
            scale_shift: self.scale_shift.as_ref().map_or(&[], Numbers::get),
        }
    }
}

fn norm_of([batch, channels, height, width]: [usize; 4], options: NormOptions) -> Norm {
    Norm {
        batch,
        channels,
        pixels: height * width,
        groups: options.groups,
        epsilon: options.epsilon,
        silu: options.silu,
    }
}

/// The lengths of an attention between images of a shape.
fn heads_of([batch, channels, height, width]: [usize; 4], heads: usize) -> Heads {
    Heads {
        batch,
        pixels: height * width,
        channels,
        heads,
    }
}
