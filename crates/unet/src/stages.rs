//! What the network consists of between its first convolution and its end, one after the other; and the way back
//! through it, each stage computed again.

use burn::tensor::{Device, Gradients, Tensor};

use crate::layers::attention::Attention;
use crate::layers::resample::{Downsample, Upsample};
use crate::layers::resnet::ResnetBlock;

/// A stage: a residual block with the attention behind it, if there is one, or a change of resolution.
#[derive(Clone, Copy)]
pub(crate) enum Stage<'a> {
    /// On the way down, which leaves a skip.
    Down(&'a ResnetBlock, Option<&'a Attention>),
    /// To half the resolution, which leaves a skip.
    Downsample(&'a Downsample),
    /// At the lowest resolution.
    Middle(&'a ResnetBlock, Option<&'a Attention>),
    /// On the way up, of x and the last skip that is left.
    Up(&'a ResnetBlock, Option<&'a Attention>),
    /// To twice the resolution.
    Upsample(&'a Upsample),
}

/// What a stage takes: x, and the skip, if it takes one.
pub(crate) type Taken = (Tensor<4>, Option<Tensor<4>>);

impl Stage<'_> {
    /// x behind the stage. A skip is taken from the end of `skips`, or put there.
    pub(crate) fn forward(
        self,
        x: Tensor<4>,
        skips: &mut Vec<Tensor<4>>,
        embedding: &Tensor<2>,
    ) -> Tensor<4> {
        let taken = self.takes(&x, skips);
        drop(x);
        if self.takes_skip() {
            skips.pop();
        }
        let x = self.compute(taken, embedding);
        if self.leaves_skip() {
            skips.push(x.clone());
        }
        x
    }

    /// What it takes of these.
    pub(crate) fn takes(self, x: &Tensor<4>, skips: &[Tensor<4>]) -> Taken {
        let skip = skips.last().filter(|_| self.takes_skip());
        (x.clone(), skip.cloned())
    }

    fn takes_skip(self) -> bool {
        matches!(self, Self::Up(..))
    }

    fn leaves_skip(self) -> bool {
        matches!(self, Self::Down(..) | Self::Downsample(_))
    }

    fn compute(self, (x, skip): Taken, embedding: &Tensor<2>) -> Tensor<4> {
        let x = match skip {
            Some(skip) => kernels::concat_channels(x, skip),
            None => x,
        };
        match self {
            Self::Down(resnet, attention)
            | Self::Middle(resnet, attention)
            | Self::Up(resnet, attention) => {
                let x = resnet.forward(x, embedding.clone());
                match attention {
                    Some(attention) => attention.forward(x),
                    None => x,
                }
            }
            Self::Downsample(downsample) => downsample.forward(x),
            Self::Upsample(upsample) => upsample.forward(x),
        }
    }
}

/// By what the generator of a device is seeded before each stage, where there is dropout.
pub(crate) struct Seed {
    pub(crate) device: Device,
    pub(crate) first: Option<u64>,
}

impl Seed {
    /// Seeds it before the stage in this place.
    pub(crate) fn of_stage(&self, place: usize) {
        if let Some(first) = self.first {
            self.device.seed(first.wrapping_add(place as u64));
        }
    }
}

/// A tensor with which a graph begins.
pub(crate) struct Tracked<const D: usize>(Tensor<D>);

impl<const D: usize> Tracked<D> {
    pub(crate) fn new(tensor: Tensor<D>) -> Self {
        Self(tensor.detach().require_grad())
    }

    pub(crate) fn get(&self) -> Tensor<D> {
        self.0.clone()
    }

    /// Its gradient, without autodiff; zero where nothing depends on it.
    pub(crate) fn gradient(self, gradients: &mut Gradients) -> Tensor<D> {
        match self.0.grad_remove(gradients) {
            Some(gradient) => gradient,
            None => self.0.inner().zeros_like(),
        }
    }
}

/// Back through all stages, from the gradient of what the last one gave to those of what the first one takes and of the
/// embedding. With each stage comes its place and what it takes. Gradients are without autodiff; those of the parameters
/// are added to `parts`.
pub(crate) fn backward_through(
    stages: Vec<(usize, (Taken, Stage<'_>))>,
    embedding: &Tensor<2>,
    seed: &Seed,
    mut dx: Tensor<4>,
    parts: &mut Vec<Gradients>,
) -> (Tensor<4>, Option<Tensor<2>>) {
    let mut d_embedding: Option<Tensor<2>> = None;
    let mut d_skips: Vec<Tensor<4>> = Vec::new();
    for (place, ((x, skip), stage)) in stages.into_iter().rev() {
        if stage.leaves_skip()
            && let Some(d_skip) = d_skips.pop()
        {
            dx = dx + d_skip;
        }
        let x = Tracked::new(x);
        let skip = skip.map(Tracked::new);
        let tracked_embedding = Tracked::new(embedding.clone());
        seed.of_stage(place);
        let taken = (x.get(), skip.as_ref().map(Tracked::get));
        let y = stage.compute(taken, &tracked_embedding.get());
        let mut gradients = (y * Tensor::from_inner(dx)).sum().backward();
        dx = x.gradient(&mut gradients);
        d_skips.extend(skip.map(|skip| skip.gradient(&mut gradients)));
        if !matches!(stage, Stage::Downsample(_) | Stage::Upsample(_)) {
            let gradient = tracked_embedding.gradient(&mut gradients);
            d_embedding = Some(match d_embedding {
                Some(sum) => sum + gradient,
                None => gradient,
            });
        }
        parts.push(gradients);
    }
    // What the first convolution left.
    if let Some(d_skip) = d_skips.pop() {
        dx = dx + d_skip;
    }
    (dx, d_embedding)
}
