//! The network and its first values.

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor, TensorData};
use kernels::{PlusRows, attention, embedding_sum, layer_norm, linear, linear_silu};
use rand::{Rng, RngExt};
use unet::timestep_embedding;

use crate::config::TransformerConfig;

/// Is added to the variance of a column's features.
const EPSILON: f64 = 1e-5;

/// What Ho et al. 2020 take for a scale of zero, so that each layer starts as the identity.
const ZERO_SCALE: f64 = 1e-10;

/// Features between the two linear layers, a feature of the network (Vaswani et al. 2017, section 3.3).
const EXPANSION: usize = 4;

/// The network.
#[derive(Module, Debug)]
pub struct Transformer {
    time1: Linear,
    time2: Linear,
    /// `[categories + 1 + columns + classes, W]`: of the letters and the mask, of the columns, of the classes.
    embedding: Param<Tensor<2>>,
    layers: Vec<Layer>,
    norm: Norm,
    output: Linear,
    dropout: Option<Dropout>,
    #[module(skip)]
    config: TransformerConfig,
}

/// Attention, then two linear layers.
#[derive(Module, Debug)]
struct Layer {
    norm1: Norm,
    q: Linear,
    k: Linear,
    v: Linear,
    attended: Linear,
    norm2: Norm,
    linear1: Linear,
    linear2: Linear,
}

/// γ and β of a LayerNorm.
#[derive(Module, Debug)]
struct Norm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

impl Norm {
    fn new(width: usize, device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::ones([width], device)),
            bias: Param::from_tensor(Tensor::zeros([width], device)),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        layer_norm(x, self.weight.val(), self.bias.val(), EPSILON)
    }
}

impl TransformerConfig {
    /// A network that has learnt nothing yet, its weights drawn from `rng` on the host.
    pub fn init(&self, device: &Device, rng: &mut impl Rng) -> Transformer {
        let width = self.width;
        let mut uniform = |dims: [usize; 2], limit: f64| -> Param<Tensor<2>> {
            let values: Vec<f32> = (0..dims[0] * dims[1])
                .map(|_| (limit * (2.0 * rng.random::<f64>() - 1.0)) as f32)
                .collect();
            Param::from_data(TensorData::new(values, dims), device)
        };
        // A letter, its column and the class: of variance 1 together.
        let embeddings = self.embeddings();
        let limit = (3.0 / embeddings.len() as f64).sqrt();
        let embedding = uniform([embeddings.iter().sum(), width], limit);
        let mut linear = |[inputs, outputs]: [usize; 2], scale: f64| {
            let limit = (6.0 * scale / (inputs + outputs) as f64).sqrt();
            let mut linear = LinearConfig::new(inputs, outputs).init(device);
            linear.weight = uniform([inputs, outputs], limit);
            linear.bias = Some(Param::from_tensor(Tensor::zeros([outputs], device)));
            linear
        };
        Transformer {
            time1: linear([width, width], 1.0),
            time2: linear([width, width], 1.0),
            embedding,
            layers: (0..self.layers)
                .map(|_| Layer {
                    norm1: Norm::new(width, device),
                    q: linear([width, width], 1.0),
                    k: linear([width, width], 1.0),
                    v: linear([width, width], 1.0),
                    attended: linear([width, width], ZERO_SCALE),
                    norm2: Norm::new(width, device),
                    linear1: linear([width, EXPANSION * width], 1.0),
                    linear2: linear([EXPANSION * width, width], ZERO_SCALE),
                })
                .collect(),
            norm: Norm::new(width, device),
            output: linear([width, self.categories()], ZERO_SCALE),
            dropout: (self.dropout > 0.0).then(|| DropoutConfig::new(self.dropout).init()),
            config: self.clone(),
        }
    }

    /// Embeddings of letters, one of which is the mask's, of columns, and of classes.
    fn embeddings(&self) -> Vec<usize> {
        let sizes = [self.categories() + 1, self.columns()];
        sizes.into_iter().chain(self.num_class_embeds).collect()
    }
}

impl Transformer {
    /// The description that the network was made from.
    pub fn config(&self) -> &TransformerConfig {
        &self.config
    }

    /// The logits of x_0's categories for a batch at a timestep for each row.
    ///
    /// - `x_t`: `[B, columns]`, codes from 0 to the number of categories, that one being the mask
    /// - `labels`: the class embedding of each row, where the network knows classes
    /// - output: `[B, columns · categories]`, column by column
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
        let dims @ [batch, columns] = x_t.dims();
        assert!(
            columns == self.config.columns() && batch == timesteps.len(),
            "x_t of {dims:?} at {} timesteps for a network of {} columns",
            timesteps.len(),
            self.config.columns()
        );
        let labelled = labels.map(<[usize]>::len);
        assert!(
            labelled == self.config.num_class_embeds.map(|_| batch),
            "{labelled:?} labels for {batch} rows and {:?} class embeddings",
            self.config.num_class_embeds
        );

        let mut h = self.embed(x_t, timesteps, labels);
        for layer in &self.layers {
            h = self.attend(layer, h, dims);
            let inner = layer.norm2.forward(h.clone());
            let inner = linear_silu(inner, layer.linear1.weight.val(), bias(&layer.linear1));
            h = self.add(&layer.linear2, inner, h);
        }
        let h = self.norm.forward(h);
        linear(h, self.output.weight.val(), bias(&self.output))
            .reshape([batch, self.config.outputs()])
    }

    /// The sums of embeddings: `[B · columns, W]`.
    fn embed(&self, x_t: Tensor<2>, timesteps: &[f64], labels: Option<&[usize]>) -> Tensor<2> {
        let device = x_t.device();
        let [batch, columns] = x_t.dims();
        // Rows of a batch share their timesteps: in sampling all of them.
        let mut different = timesteps.to_vec();
        different.sort_by(f64::total_cmp);
        different.dedup_by(|a, b| a.total_cmp(b).is_eq());
        let time = timestep_embedding(&different, self.config.width, false, 1, &device);
        let time = linear_silu(time, self.time1.weight.val(), bias(&self.time1));
        let time = linear(time, self.time2.weight.val(), bias(&self.time2));

        let told = 2 + usize::from(labels.is_some());
        let mut codes = Vec::with_capacity(batch * columns * told);
        for (row, t) in timesteps.iter().enumerate() {
            let place = different.partition_point(|other| other.total_cmp(t).is_lt());
            for column in 0..columns {
                codes.push(column as f32);
                codes.extend(labels.map(|labels| labels[row] as f32));
                codes.push(place as f32);
            }
        }
        let codes = TensorData::new(codes, [batch * columns, told]);
        let codes = Tensor::from_data(codes, &device);
        let codes = Tensor::cat(vec![x_t.reshape([batch * columns, 1]), codes], 1);
        let mut sizes = self.config.embeddings();
        sizes.push(different.len());
        let table = Tensor::cat(vec![self.embedding.val(), time], 0);
        embedding_sum(codes, table, &sizes)
    }

    /// Attention between the columns of each row.
    fn attend(&self, layer: &Layer, h: Tensor<2>, [batch, columns]: [usize; 2]) -> Tensor<2> {
        let width = self.config.width;
        let normal = layer.norm1.forward(h.clone());
        // Columns as the pixels of an image, channels last as the kernels keep them.
        let [q, k, v] = [&layer.q, &layer.k, &layer.v].map(|projection| {
            let projected = linear(normal.clone(), projection.weight.val(), bias(projection));
            projected
                .reshape([batch, columns, 1, width])
                .permute([0, 3, 1, 2])
        });
        let attended = attention(q, k, v, self.config.heads)
            .permute([0, 2, 3, 1])
            .reshape([batch * columns, width]);
        self.add(&layer.attended, attended, h)
    }

    /// h plus a layer of what a part found.
    fn add(&self, layer: &Linear, inner: Tensor<2>, h: Tensor<2>) -> Tensor<2> {
        match &self.dropout {
            Some(dropout) => h + dropout.forward(linear(inner, layer.weight.val(), bias(layer))),
            None => {
                let plus = PlusRows {
                    residual: Some(h),
                    ..bias(layer)
                };
                linear(inner, layer.weight.val(), plus)
            }
        }
    }
}

/// The bias of a layer.
fn bias(linear: &Linear) -> PlusRows {
    PlusRows {
        bias: linear.bias.as_ref().map(Param::val),
        residual: None,
    }
}
