//! The network: down through the levels, a middle block, and up again with skip connections.
//!
//! Ho et al. 2020, appendix B, in the structure of diffusers' `UNet2DModel`: every residual block
//! and every downsampling on the way down leaves a skip, which the residual blocks on the way up
//! take in reverse order, concatenated to their input.
//!
//! Fields are named as in diffusers, for the path to a parameter is its name on disk. Lists of at
//! most one element are there for the same reason (`downsamplers.0.conv.weight`).

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{Embedding, EmbeddingConfig, GroupNorm};
use burn::tensor::{DType, Device, FloatDType, Gradients, Int, Tensor};
use kernels::{Sampling, silu};

use crate::config::{TimeScaleShift, UNetConfig};
use crate::layers::attention::Attention;
use crate::layers::conv::{conv3x3, convolve};
use crate::layers::embedding::{TimestepEmbedding, timestep_embedding};
use crate::layers::norm::{group_norm, group_norm_silu};
use crate::layers::resample::{Downsample, Upsample};
use crate::layers::resnet::ResnetBlock;
use crate::stages::{Seed, Stage, Tracked, backward_through};

/// The DDPM U-Net: predicts from `x_t`, the timesteps and, in a class-conditional network, the
/// class labels. [`UNetConfig::init`] makes one.
#[derive(Module, Debug)]
pub struct UNet {
    conv_in: Conv2d,
    time_embedding: TimestepEmbedding,
    class_embedding: Option<Embedding>,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    #[module(skip)]
    config: UNetConfig,
    /// The type of all images but those that come and go.
    #[module(skip)]
    dtype: FloatDType,
}

impl UNet {
    /// The network of a valid `config`, its weights not drawn yet.
    pub(crate) fn new(config: &UNetConfig, device: &Device) -> Self {
        let channels = &config.block_out_channels;
        let levels = channels.len();
        let first = channels[0];
        let embedding = config.time_embedding_channels();

        Self {
            conv_in: conv3x3([config.in_channels, first], 1, device),
            time_embedding: TimestepEmbedding::new(first, embedding, device),
            class_embedding: config
                .num_class_embeds
                .map(|classes| EmbeddingConfig::new(classes, embedding).init(device)),
            down_blocks: (0..levels)
                .map(|level| DownBlock::new(level, config, device))
                .collect(),
            mid_block: MidBlock::new(config, device),
            up_blocks: (0..levels)
                .rev()
                .map(|level| UpBlock::new(level, config, device))
                .collect(),
            conv_norm_out: group_norm(first, config.norm_num_groups, config, device),
            conv_out: conv3x3([first, config.out_channels], 1, device),
            config: config.clone(),
            dtype: FloatDType::F32,
        }
    }

    /// The same network, which computes in another type: its images, convolutions and attention are of it. Weights,
    /// the embedding of time and classes, the sums of normalisations and softmax stay f32 (Micikevicius et al. 2018,
    /// "Mixed Precision Training"), and so do x_t and what is predicted.
    #[must_use]
    pub fn computing_in(mut self, dtype: FloatDType) -> Self {
        self.dtype = dtype;
        self
    }

    /// The configuration that the network was built from.
    #[must_use]
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// The prediction for a batch.
    ///
    /// - `x_t`: `[batch, in_channels, height, width]`, of any size that the levels divide
    /// - `timesteps`: one for each example, fractions of a step included
    /// - `class_labels`: one for each example, each below `num_class_embeds`; given exactly if the
    ///   network is class-conditional
    /// - output: `[batch, out_channels, height, width]`
    ///
    /// # Panics
    ///
    /// If a shape does not fit the configuration, or labels are missing or not expected.
    #[must_use]
    pub fn forward(
        &self,
        x_t: Tensor<4>,
        timesteps: &[f64],
        class_labels: Option<&[usize]>,
    ) -> Tensor<4> {
        let dtype = x_t.dtype();
        let (mut x, embedding) = self.begin(x_t, timesteps, class_labels);
        let mut skips = vec![x.clone()];
        for stage in self.stages() {
            x = stage.forward(x, &mut skips, &embedding);
        }
        self.end(x, dtype)
    }

    /// The `loss` of a prediction, `[1]`, and the gradients of all parameters, each in one of several parts. The network
    /// has autodiff.
    ///
    /// Of each stage of the network only what it takes is kept until its gradients are wanted; then it is computed
    /// again (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"): less memory for a second
    /// [`forward`](Self::forward). For dropout, which must leave out the same both times, the generator of the device is
    /// seeded before every stage, from `dropout_seed`.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward), and if the network has dropout but there is no seed for it.
    pub fn backward_recomputing(
        &self,
        x_t: Tensor<4>,
        timesteps: &[f64],
        class_labels: Option<&[usize]>,
        dropout_seed: Option<u64>,
        loss: impl FnOnce(Tensor<4>) -> Tensor<1>,
    ) -> (Tensor<1>, Vec<Gradients>) {
        assert!(
            self.config.dropout == 0.0 || dropout_seed.is_some(),
            "dropout that is drawn twice needs a seed"
        );
        let dtype = x_t.dtype();
        let seed = Seed {
            device: x_t.device(),
            first: dropout_seed,
        };
        let (first, embedding) = self.begin(x_t, timesteps, class_labels);

        // Forward: autodiff, so that dropout acts, but no graph.
        let untracked = self.clone().no_grad();
        let mut x = first.clone().detach();
        let mut skips = vec![x.clone()];
        let detached = embedding.clone().detach();
        let mut begun = Vec::new();
        for (place, stage) in untracked.stages().into_iter().enumerate() {
            begun.push(stage.takes(&x, &skips));
            seed.of_stage(place);
            x = stage.forward(x, &mut skips, &detached);
        }

        // Backward: the end, the stages, the beginning.
        let last = Tracked::new(x);
        let loss = loss(self.end(last.get(), dtype));
        let mut gradients = loss.backward();
        let dx = last.gradient(&mut gradients);
        let mut parts = vec![gradients];
        let begun = begun.into_iter().zip(self.stages()).enumerate().collect();
        let (dx, d_embedding) = backward_through(begun, &detached, &seed, dx, &mut parts);
        parts.push((first * Tensor::from_inner(dx)).sum().backward());
        if let Some(d_embedding) = d_embedding {
            let towards = embedding * Tensor::from_inner(d_embedding);
            parts.push(towards.sum().backward());
        }
        (loss, parts)
    }

    /// The first convolution of x_t, which is the first skip, and the embedding of time and class behind the SiLU that
    /// every residual block begins with.
    fn begin(
        &self,
        x_t: Tensor<4>,
        timesteps: &[f64],
        class_labels: Option<&[usize]>,
    ) -> (Tensor<4>, Tensor<2>) {
        self.assert_shapes(&x_t, timesteps, class_labels);

        let device = x_t.device();
        let sinusoid = timestep_embedding(
            timesteps,
            self.config.block_out_channels[0],
            self.config.flip_sin_to_cos,
            self.config.freq_shift,
            &device,
        );
        let mut embedding = self.time_embedding.forward(sinusoid);
        if let (Some(classes), Some(labels)) = (&self.class_embedding, class_labels) {
            let labels: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
            let labels = Tensor::<1, Int>::from_ints(labels.as_slice(), &device);
            embedding = embedding + classes.weight.val().select(0, labels);
        }
        let x = convolve(&self.conv_in, x_t.cast(self.dtype), Sampling::Same);
        (x, silu(embedding))
    }

    /// All between [`begin`](Self::begin) and [`end`](Self::end), in order.
    fn stages(&self) -> Vec<Stage<'_>> {
        let down = self.down_blocks.iter().flat_map(DownBlock::stages);
        let up = self.up_blocks.iter().flat_map(UpBlock::stages);
        down.chain(self.mid_block.stages()).chain(up).collect()
    }

    /// From the last stage to the prediction.
    fn end(&self, x: Tensor<4>, dtype: DType) -> Tensor<4> {
        let x = group_norm_silu(&self.conv_norm_out, x, None);
        convolve(&self.conv_out, x, Sampling::Same).cast(dtype)
    }

    /// The network of one class alone, which knows no classes: the class's embedding is added to the
    /// bias of the time embedding's second linear layer, since all that [`UNet::forward`] does with it
    /// is to add it to that layer's output.
    ///
    /// # Panics
    ///
    /// If the network is not class-conditional, or has no embedding of that number.
    #[must_use]
    pub fn for_class(mut self, class: usize) -> Self {
        let Some(classes) = self.class_embedding.take() else {
            panic!("a network without class embeddings has no network of one class");
        };
        let embedding = classes.weight.val().detach();
        let [count, width] = embedding.dims();
        assert!(class < count, "class {class} of {count} class embeddings");
        let embedding = embedding.narrow(0, class, 1).reshape([width]);
        let linear = &mut self.time_embedding.linear_2;
        linear.bias = linear
            .bias
            .take()
            .map(|bias| bias.map(|bias| bias + embedding));
        self.config.num_class_embeds = None;
        self
    }

    /// Panics with what was found and what was expected.
    fn assert_shapes(&self, x_t: &Tensor<4>, timesteps: &[f64], class_labels: Option<&[usize]>) {
        let config = &self.config;
        let [batch, channels, height, width] = x_t.dims();
        assert!(
            channels == config.in_channels,
            "x_t has {channels} channels, the network takes {}",
            config.in_channels
        );
        let shrink = 1 << (config.block_out_channels.len() - 1);
        assert!(
            height > 0 && width > 0 && height % shrink == 0 && width % shrink == 0,
            "x_t is {height}×{width} pixels, the levels need multiples of {shrink}"
        );
        let steps = timesteps.len();
        assert!(
            steps == batch,
            "{steps} timesteps for a batch of {batch}, expected one for each example"
        );
        match (config.num_class_embeds, class_labels) {
            (Some(classes), Some(labels)) => {
                assert!(
                    labels.len() == batch,
                    "{} class labels for a batch of {batch}, expected one of {classes} classes for each example",
                    labels.len()
                );
                for label in labels {
                    assert!(
                        *label < classes,
                        "class label {label} of {classes} class embeddings"
                    );
                }
            }
            (Some(classes), None) => panic!(
                "no class labels, the network is class-conditional and expects one of {classes} classes for each example"
            ),
            (None, Some(_)) => panic!("class labels for a network without class embeddings"),
            (None, None) => {}
        }
    }
}

impl UNetConfig {
    /// The attention layer of a level, with its normalisation.
    fn level_attention(&self, channels: usize, device: &Device) -> Attention {
        let norm = group_norm(channels, self.norm_num_groups, self, device);
        Attention::new(channels, self.attention_head_dim, Some(norm), device)
    }
}

/// One level on the way down.
#[derive(Module, Debug)]
struct DownBlock {
    resnets: Vec<ResnetBlock>,
    /// One a residual block, or none.
    attentions: Vec<Attention>,
    /// One, or none in the last level.
    downsamplers: Vec<Downsample>,
}

impl DownBlock {
    fn new(level: usize, config: &UNetConfig, device: &Device) -> Self {
        let channels = &config.block_out_channels;
        let out_channels = channels[level];
        let before = channels[level.saturating_sub(1)];
        let layers = config.layers_per_block;
        let is_last = level + 1 == channels.len();

        Self {
            resnets: (0..layers)
                .map(|layer| {
                    let in_channels = if layer == 0 { before } else { out_channels };
                    ResnetBlock::new([in_channels, out_channels], config, device)
                })
                .collect(),
            attentions: (0..layers)
                .filter(|_| config.down_block_attention[level])
                .map(|_| config.level_attention(out_channels, device))
                .collect(),
            downsamplers: (!is_last)
                .then(|| Downsample::new(out_channels, config.downsample_padding, device))
                .into_iter()
                .collect(),
        }
    }

    fn stages(&self) -> impl Iterator<Item = Stage<'_>> {
        let layers = self.resnets.iter().enumerate();
        layers
            .map(|(layer, resnet)| Stage::Down(resnet, self.attentions.get(layer)))
            .chain(self.downsamplers.iter().map(Stage::Downsample))
    }
}

/// Two residual blocks at the lowest resolution, with attention between them if asked.
#[derive(Module, Debug)]
struct MidBlock {
    /// One, or none.
    attentions: Vec<Attention>,
    resnets: [ResnetBlock; 2],
}

impl MidBlock {
    fn new(config: &UNetConfig, device: &Device) -> Self {
        let channels = config.block_out_channels[config.block_out_channels.len() - 1];
        let norm_groups = match config.resnet_time_scale_shift {
            TimeScaleShift::Default => Some(config.norm_num_groups),
            TimeScaleShift::ScaleShift => None,
        };
        let norm = config
            .attn_norm_num_groups
            .or(norm_groups)
            .map(|groups| group_norm(channels, groups, config, device));
        let resnet = || ResnetBlock::new([channels, channels], config, device);

        Self {
            attentions: config
                .mid_block_attention
                .then(|| Attention::new(channels, config.attention_head_dim, norm, device))
                .into_iter()
                .collect(),
            resnets: [resnet(), resnet()],
        }
    }

    fn stages(&self) -> [Stage<'_>; 2] {
        let [first, second] = &self.resnets;
        [
            Stage::Middle(first, self.attentions.first()),
            Stage::Middle(second, None),
        ]
    }
}

/// One level on the way up.
#[derive(Module, Debug)]
struct UpBlock {
    resnets: Vec<ResnetBlock>,
    /// One a residual block, or none.
    attentions: Vec<Attention>,
    /// One, or none in the first level.
    upsamplers: Vec<Upsample>,
}

impl UpBlock {
    fn new(level: usize, config: &UNetConfig, device: &Device) -> Self {
        let channels = &config.block_out_channels;
        let out_channels = channels[level];
        let before = channels[(level + 1).min(channels.len() - 1)];
        let last_skip = channels[level.saturating_sub(1)];
        let layers = config.layers_per_block + 1;

        Self {
            resnets: (0..layers)
                .map(|layer| {
                    let x = if layer == 0 { before } else { out_channels };
                    // The last skip was left by the level above, or by the first convolution.
                    let skip = if layer + 1 == layers {
                        last_skip
                    } else {
                        out_channels
                    };
                    ResnetBlock::new([x + skip, out_channels], config, device)
                })
                .collect(),
            attentions: (0..layers)
                .filter(|_| config.down_block_attention[level])
                .map(|_| config.level_attention(out_channels, device))
                .collect(),
            upsamplers: (level > 0)
                .then(|| Upsample::new(out_channels, device))
                .into_iter()
                .collect(),
        }
    }

    fn stages(&self) -> impl Iterator<Item = Stage<'_>> {
        let layers = self.resnets.iter().enumerate();
        layers
            .map(|(layer, resnet)| Stage::Up(resnet, self.attentions.get(layer)))
            .chain(self.upsamplers.iter().map(Stage::Upsample))
    }
}
