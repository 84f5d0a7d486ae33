//! The parameters, their first values, and the network of points.

use std::f64::consts::FRAC_PI_2;

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor, TensorData};
use kernels::silu;
use rand::{Rng, RngExt};
use unet::timestep_embedding;

use crate::config::MlpConfig;

/// The least ω of the sines and cosines of each coordinate, in radians a deviation of the data.
const LEAST_FREQUENCY: f64 = FRAC_PI_2;

/// What Ho et al. take for a scale of zero, so that each block starts as the identity.
const ZERO_SCALE: f64 = 1e-10;

/// The network.
#[derive(Module, Debug)]
pub struct Mlp {
    pub(crate) time1: Linear,
    pub(crate) time2: Linear,
    /// Of the numbers, where there are some.
    pub(crate) input: Option<Linear>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) output: Linear,
    /// `[Σ (categories + 1) + classes, W]`: of each column's categories and its mask, then of the classes.
    pub(crate) embedding: Option<Param<Tensor<2>>>,
    /// Before the output of the network of tables.
    pub(crate) norm: Option<Norm>,
    pub(crate) dropout: Option<Dropout>,
    #[module(skip)]
    pub(crate) config: MlpConfig,
}

/// A residual block.
#[derive(Module, Debug)]
pub(crate) struct Block {
    pub(crate) linear1: Linear,
    /// For points.
    pub(crate) time_projection: Option<Linear>,
    pub(crate) linear2: Linear,
    /// For tables.
    pub(crate) norm: Option<Norm>,
}

/// γ and β of a LayerNorm.
#[derive(Module, Debug)]
pub(crate) struct Norm {
    pub(crate) weight: Param<Tensor<1>>,
    pub(crate) bias: Param<Tensor<1>>,
}

impl Norm {
    fn new(width: usize, device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::ones([width], device)),
            bias: Param::from_tensor(Tensor::zeros([width], device)),
        }
    }
}

/// `count` numbers between -`limit` and `limit`.
fn uniform(count: usize, limit: f64, rng: &mut impl Rng) -> Vec<f32> {
    (0..count)
        .map(|_| (limit * (2.0 * rng.random::<f64>() - 1.0)) as f32)
        .collect()
}

impl MlpConfig {
    /// A network that has learnt nothing yet, its weights drawn from `rng` on the host.
    pub fn init(&self, device: &Device, rng: &mut impl Rng) -> Mlp {
        let width = self.width;
        let is_for_rows = self.is_for_rows();
        // Each cell of a row adds as much to the variance of the features, which is 1 in all; a number is
        // its own square and one for each sine with its cosine.
        let cells = self.inputs() + usize::from(self.num_class_embeds.is_some());
        let mut linear = |[inputs, outputs]: [usize; 2], scale: f64| {
            let limit = (6.0 * scale / (inputs + outputs) as f64).sqrt();
            let values = uniform(inputs * outputs, limit, rng);
            let mut linear = LinearConfig::new(inputs, outputs).init(device);
            linear.weight = Param::from_data(TensorData::new(values, [inputs, outputs]), device);
            linear.bias = Some(Param::from_tensor(Tensor::zeros([outputs], device)));
            linear
        };
        // A number, and a sine and a cosine of each frequency.
        let numbers = (1 + 2 * self.frequencies) * self.dimensions();
        let input_scale = if is_for_rows {
            let variance = 1.0 / ((1 + self.frequencies) * cells) as f64;
            variance * (numbers + width) as f64 / 2.0
        } else {
            1.0
        };
        let norm = || is_for_rows.then(|| Norm::new(width, device));
        let mut mlp = Mlp {
            input: (numbers > 0).then(|| linear([numbers, width], input_scale)),
            blocks: (0..self.blocks)
                .map(|_| Block {
                    linear1: linear([width, width], 1.0),
                    time_projection: (!is_for_rows).then(|| linear([width, width], 1.0)),
                    linear2: linear([width, width], ZERO_SCALE),
                    norm: norm(),
                })
                .collect(),
            output: linear([width, self.outputs()], ZERO_SCALE),
            time1: linear([width, width], 1.0),
            time2: linear([width, width], 1.0),
            embedding: None,
            norm: norm(),
            dropout: (self.dropout > 0.0).then(|| DropoutConfig::new(self.dropout).init()),
            config: self.clone(),
        };
        let embeddings: usize = self.embeddings().iter().sum();
        if embeddings > 0 {
            let limit = (3.0 / cells as f64).sqrt();
            let values = uniform(embeddings * width, limit, rng);
            let data = TensorData::new(values, [embeddings, width]);
            mlp.embedding = Some(Param::from_data(data, device));
        }
        mlp
    }

    /// Embeddings of each column of categories, one of which is the mask's, and of the class.
    pub(crate) fn embeddings(&self) -> Vec<usize> {
        let columns = self.categories.iter().map(|size| size + 1);
        columns.chain(self.num_class_embeds).collect()
    }
}

impl Mlp {
    /// The description that the network was made from.
    pub fn config(&self) -> &MlpConfig {
        &self.config
    }

    /// The prediction for a batch at a timestep for each example.
    ///
    /// - `x_t`: points `[B, D]`; rows `[B, N + C]`, the numbers before the codes of the categories, which
    ///   are whole numbers from 0 to the number of categories, that one being the mask
    /// - `labels`: the class embedding of each row, where the network knows classes
    /// - output: points `[B, D]`; rows `[B, N + Σ K]`, the prediction for the numbers before the logits of
    ///   x_0's categories, column by column
    ///
    /// # Panics
    ///
    /// If a shape does not fit the network, or there are labels where it knows no classes, or none where it
    /// does.
    #[must_use]
    pub fn forward(
        &self,
        x_t: Tensor<2>,
        timesteps: &[f64],
        labels: Option<&[usize]>,
    ) -> Tensor<2> {
        let [batch, inputs] = x_t.dims();
        assert!(
            inputs == self.config.inputs() && batch == timesteps.len(),
            "x_t of {:?} at {} timesteps for a network of {} columns",
            x_t.dims(),
            timesteps.len(),
            self.config.inputs()
        );
        let labelled = labels.map(<[usize]>::len);
        assert!(
            labelled == self.config.num_class_embeds.map(|_| batch),
            "{labelled:?} labels for {batch} rows and {:?} class embeddings",
            self.config.num_class_embeds
        );
        if self.config.is_for_rows() {
            self.forward_rows(x_t, timesteps, labels)
        } else {
            self.forward_points(x_t, timesteps)
        }
    }

    fn forward_points(&self, x_t: Tensor<2>, timesteps: &[f64]) -> Tensor<2> {
        let embedding = timestep_embedding(timesteps, self.config.width, false, 1, &x_t.device());
        let embedding = self.time2.forward(silu(self.time1.forward(embedding)));
        let embedding = silu(embedding);
        let input = waves(x_t, self.config.frequencies);
        let input = match &self.input {
            Some(linear) => linear.forward(input),
            None => input,
        };
        let h = self.blocks.iter().fold(input, |h, block| {
            let mut inner = block.linear1.forward(silu(h.clone()));
            if let Some(projection) = &block.time_projection {
                inner = inner + projection.forward(embedding.clone());
            }
            h + block.linear2.forward(silu(inner))
        });
        self.output.forward(silu(h))
    }
}

/// Numbers `[B, N]`, their sines and their cosines: `[B, (1 + 2 F) N]`.
pub(crate) fn waves(x_t: Tensor<2>, frequencies: usize) -> Tensor<2> {
    let mut waves = vec![x_t.clone()];
    for octave in 0..frequencies {
        let angles = x_t
            .clone()
            .mul_scalar(LEAST_FREQUENCY * f64::from(1 << octave));
        waves.extend([angles.clone().sin(), angles.cos()]);
    }
    Tensor::cat(waves, 1)
}
