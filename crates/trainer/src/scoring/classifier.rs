//! A small convolutional network that tells the classes of a data set apart. The program trains it on the
//! labelled training split, always from the same seed; what it makes of an image before the last layer
//! are the features that images are scored by.
//!
//! ```text
//! 3×3 → 32, 3×3 ↓ 64, 3×3 → 64, 3×3 ↓ 128, 3×3 → 128     each behind it: GroupNorm, SiLU; ↓ halves
//! mean over pixels → 128 features → linear → a logit a class
//! ```

use anyhow::{Context, Result, ensure};
use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{GroupNorm, GroupNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use evaluation::Features;
use kernels::{Plus, Sampling};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tracing::info;

use crate::progress;
use crate::scoring::image_set::ImageSet;
use training::DataOrder;
use training::labels_tensor;
use training::{AdamW, clip_by_global_norm};
use training::{LearningRateSchedule, OptimizerConfig, TrainingConfig};
use training::{Purpose, Streams, streams};
use training::{flatten, flatten_gradients, unflatten};

/// Names the network and its training: to be changed with either, since trained ones are kept.
pub const VERSION: &str = "classifier 1";

/// Features of an image.
pub const FEATURES: usize = 128;

/// Channels of each convolution's output, and whether it halves the resolution.
const STAGES: [(usize, bool); 5] = [
    (32, false),
    (64, true),
    (64, false),
    (FEATURES, true),
    (FEATURES, false),
];
const NORM_GROUPS: usize = 8;

/// The seed of weights, order and shifts.
const SEED: u64 = 0;
/// Passes over the training images.
const EPOCHS: usize = 3;
const BATCH_SIZE: usize = 64;
/// The most pixels that a training image is moved by along each axis.
const MAX_SHIFT: i64 = 2;
/// How often its training says where it is.
const REPORTS: usize = 10;

/// The network.
#[derive(Module, Debug)]
pub struct Classifier {
    stages: Vec<Stage>,
    output: Linear,
}

/// A 3×3 convolution, GroupNorm, SiLU.
#[derive(Module, Debug)]
struct Stage {
    conv: Conv2d,
    norm: GroupNorm,
    #[module(skip)]
    halves: bool,
}

impl Stage {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let sampling = if self.halves {
            Sampling::Down
        } else {
            Sampling::Same
        };
        let x = kernels::conv2d_3x3(x, self.conv.weight.val(), Plus::default(), sampling);
        let (Some(gamma), Some(beta)) = (&self.norm.gamma, &self.norm.beta) else {
            unreachable!("every group normalisation of the network is affine");
        };
        kernels::group_norm_silu(
            x,
            gamma.val(),
            beta.val(),
            None,
            self.norm.num_groups,
            self.norm.epsilon,
        )
    }
}

impl Classifier {
    /// A network that has learnt nothing yet, for images of so many channels.
    pub fn new(channels: usize, num_classes: usize, device: &Device) -> Self {
        let mut rng = Streams::new(SEED).at(Purpose::Weights, 0);
        let inputs = [channels].into_iter().chain(STAGES.map(|(out, _)| out));
        let stages = inputs
            .zip(STAGES)
            .map(|(channels, (out, halves))| Stage {
                conv: conv3x3([channels, out], &mut rng, device),
                norm: GroupNormConfig::new(NORM_GROUPS, out).init(device),
                halves,
            })
            .collect();
        let mut output = LinearConfig::new(FEATURES, num_classes).init(device);
        let scale = (FEATURES as f64).powf(-0.5);
        let weight: Tensor<2> = streams::noise([FEATURES, num_classes], &mut rng, device);
        output.weight = Param::from_tensor(weight.mul_scalar(scale));
        output.bias = Some(Param::from_tensor(Tensor::zeros([num_classes], device)));
        Self { stages, output }
    }

    /// Images `[B, C, H, W]` in [-1, 1] to features `[B, 128]`.
    pub fn features(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.stages.iter().fold(images, |x, stage| stage.forward(x));
        x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim(2)
    }

    /// Features `[B, 128]` to logits `[B, classes]`.
    pub fn logits(&self, features: Tensor<2>) -> Tensor<2> {
        self.output.forward(features)
    }

    /// Trains a network on the images of `set` that have a class, in `steps` steps, on `device`; the
    /// result is without autodiff.
    pub fn train(set: &ImageSet, steps: usize, device: &Device) -> Result<Self> {
        let labelled: Vec<usize> = (0..set.len())
            .filter(|&index| set.labels()[index].is_some())
            .collect();
        ensure!(
            set.num_classes() > 1 && !labelled.is_empty(),
            "the classifier whose features images are scored by needs images of at least two classes, \
             and the training split has {} images with a class, of {} classes",
            labelled.len(),
            set.num_classes()
        );
        let [channels, ..] = set.shape();
        let device = device.clone().autodiff();
        let mut classifier = Self::new(channels, set.num_classes(), &device);
        let mut parameters = flatten(&classifier);
        let mut optimizer = AdamW::new(OptimizerConfig {
            weight_decay: 0.02,
            ..OptimizerConfig::default()
        });
        let training = TrainingConfig {
            learning_rate: 4e-3,
            learning_rate_schedule: LearningRateSchedule::Cosine,
            warmup_steps: (steps / 10).min(100) as u64,
            ..TrainingConfig::default()
        };
        let streams = Streams::new(SEED);
        let mut order = DataOrder::new(labelled.len(), streams);
        let bar = progress::bar(steps, "training the classifier");
        for step in 0..steps {
            let indices: Vec<usize> = order
                .indices((step * BATCH_SIZE) as u64, BATCH_SIZE)
                .into_iter()
                .map(|index| labelled[index])
                .collect();
            let mut rng = streams.at(Purpose::Training, step as u64);
            let images = set.shifted(&indices, &device, |_| {
                [(); 2].map(|()| rng.random_range(-MAX_SHIFT..=MAX_SHIFT))
            });
            let labels: Vec<usize> = indices
                .iter()
                .filter_map(|&index| set.labels()[index])
                .collect();
            let loss = classifier.cross_entropy(images, labels_tensor(&labels, &device));
            let gradient = flatten_gradients(&classifier, &mut loss.backward());
            let (scale, _) = clip_by_global_norm(gradient.clone(), training.max_grad_norm);
            let rate = training.learning_rate_at(step as u64, step as f64 / steps as f64);
            parameters = optimizer.step(parameters, gradient, scale, rate);
            classifier = unflatten(classifier, parameters.clone());
            bar.inc(1);
            if (step + 1).is_multiple_of(steps.div_ceil(REPORTS)) {
                let loss: f32 = loss
                    .inner()
                    .try_into_scalar()
                    .context("cannot read the loss back from the device")?;
                ensure!(
                    loss.is_finite(),
                    "the loss of the classifier is not finite at step {}",
                    step + 1
                );
                info!("classifier: step {} of {steps}, loss {loss:.4}", step + 1);
            }
        }
        bar.finish_and_clear();
        Ok(classifier.valid())
    }

    fn cross_entropy(&self, images: Tensor<4>, labels: Tensor<1, Int>) -> Tensor<1> {
        let logits = self.logits(self.features(images));
        let log_probabilities = log_softmax(logits, 1);
        log_probabilities
            .gather(1, labels.unsqueeze_dim(1))
            .mean()
            .neg()
    }

    /// The most likely class of each image, by its features.
    pub fn classes(&self, features: &Features, device: &Device) -> Result<Vec<usize>> {
        let shape = [features.len(), FEATURES];
        ensure!(features.width() == FEATURES, "features of another network");
        let data = TensorData::new(features.values().to_vec(), shape);
        let logits = self.logits(Tensor::from_data(data, device));
        let [_, num_classes] = logits.dims();
        let logits: Vec<f32> = logits
            .try_into_vec_as()
            .context("cannot read logits back from the device")?;
        let likeliest = |logits: &[f32]| {
            let best = (0..num_classes).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
            best.unwrap_or(0)
        };
        Ok(logits.chunks(num_classes).map(likeliest).collect())
    }
}

/// The steps that a classifier is trained for on `images` images: some passes, and more where there are
/// few images.
pub fn default_steps(images: usize) -> usize {
    (EPOCHS * images).div_ceil(BATCH_SIZE).max(500)
}

/// A 3×3 convolution without bias, which GroupNorm would take out again; He et al. 2015's weights.
fn conv3x3([channels, out]: [usize; 2], rng: &mut ChaCha8Rng, device: &Device) -> Conv2d {
    let mut conv = Conv2dConfig::new([channels, out], [3, 3])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .with_bias(false)
        .init(device);
    let weight: Tensor<4> = streams::noise([out, channels, 3, 3], rng, device);
    conv.weight = Param::from_tensor(weight.mul_scalar((2.0 / (9 * channels) as f64).sqrt()));
    conv
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::scoring::image_set::tests::{labelled, stripes};

    #[test]
    fn images_without_classes_are_not_learnt_from() {
        let device = Device::flex();
        let half = |index: usize| (index < 20).then_some(index % 2);
        let set = labelled(stripes(40), half);
        // Were they taken for a class, there would be no label to go with them.
        Classifier::train(&set, 2, &device).unwrap();
        let set = labelled(set, |_| None);
        let error = Classifier::train(&set, 2, &device).unwrap_err().to_string();
        assert!(error.contains("0 images with a class"), "{error}");
    }
}
