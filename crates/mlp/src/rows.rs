//! The network of rows: numbers and categories.

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData};
use kernels::{PlusRows, embedding_sum, layer_norm, layer_norm_silu, linear, linear_silu};
use unet::timestep_embedding;

use crate::network::{Mlp, Norm, waves};

/// Is added to the variance of a row's features.
const EPSILON: f64 = 1e-5;

impl Mlp {
    /// See [`Mlp::forward`].
    pub(crate) fn forward_rows(
        &self,
        x_t: Tensor<2>,
        timesteps: &[f64],
        labels: Option<&[usize]>,
    ) -> Tensor<2> {
        let device = x_t.device();
        let [batch, _] = x_t.dims();
        let (numbers, columns) = (self.config.dimensions(), self.config.categories.len());

        // Rows of a batch share their timesteps: in sampling all of them.
        let (different, places) = distinct(timesteps);
        let time = timestep_embedding(&different, self.config.width, false, 1, &device);
        let time = linear_silu(time, self.time1.weight.val(), bias(&self.time1));
        let time = linear(time, self.time2.weight.val(), bias(&self.time2));

        // The time is one more column, and the class another.
        let mut codes = Vec::with_capacity(3);
        if columns > 0 {
            codes.push(x_t.clone().narrow(1, numbers, columns));
        }
        codes.extend(labels.map(|labels| column(labels, &device)));
        codes.push(column(&places, &device));
        let mut sizes = self.config.embeddings();
        sizes.push(different.len());
        let table = match &self.embedding {
            Some(embedding) => Tensor::cat(vec![embedding.val(), time], 0),
            None => time,
        };
        let codes = Tensor::cat(codes, 1);
        let mut h = embedding_sum(codes, table, &sizes);
        if let Some(input) = &self.input {
            let plus = PlusRows {
                residual: Some(h),
                ..bias(input)
            };
            let numbers = waves(x_t.slice([0..batch, 0..numbers]), self.config.frequencies);
            h = linear(numbers, input.weight.val(), plus);
        }

        for block in &self.blocks {
            let mut inner = match &block.norm {
                Some(Norm { weight, bias }) => {
                    layer_norm(h.clone(), weight.val(), bias.val(), EPSILON)
                }
                None => h.clone(),
            };
            inner = linear_silu(inner, block.linear1.weight.val(), bias(&block.linear1));
            if let Some(dropout) = &self.dropout {
                inner = dropout.forward(inner);
            }
            let plus = PlusRows {
                residual: Some(h),
                ..bias(&block.linear2)
            };
            h = linear(inner, block.linear2.weight.val(), plus);
        }
        if let Some(Norm { weight, bias }) = &self.norm {
            h = layer_norm_silu(h, weight.val(), bias.val(), EPSILON);
        }
        linear(h, self.output.weight.val(), bias(&self.output))
    }
}

/// The bias of a layer.
fn bias(linear: &Linear) -> PlusRows {
    PlusRows {
        bias: linear.bias.as_ref().map(Param::val),
        residual: None,
    }
}

/// Codes as a column: `[B, 1]`.
fn column(codes: &[usize], device: &Device) -> Tensor<2> {
    let values: Vec<f32> = codes.iter().map(|&code| code as f32).collect();
    Tensor::from_data(TensorData::new(values, [codes.len(), 1]), device)
}

/// Each timestep once, in order, and the place of each row's.
fn distinct(timesteps: &[f64]) -> (Vec<f64>, Vec<usize>) {
    let mut different = timesteps.to_vec();
    different.sort_by(f64::total_cmp);
    different.dedup_by(|a, b| a.total_cmp(b).is_eq());
    let place = |t: &f64| different.partition_point(|other| other.total_cmp(t).is_lt());
    let places = timesteps.iter().map(place).collect();
    (different, places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timesteps_are_found_again() {
        let timesteps = [3.0, 0.5, 3.0, 999.0, 0.5];
        let (different, places) = distinct(&timesteps);
        assert_eq!(different, [0.5, 3.0, 999.0]);
        assert_eq!(places, [1, 0, 1, 2, 0]);
    }
}
