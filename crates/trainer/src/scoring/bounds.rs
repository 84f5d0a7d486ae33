//! How likely held-out rows are under a network of tables or of lines: bounds on −ln p(x) of their categories, by the
//! terms of the chain ([`HeldOutRows::by_timesteps`]) and by the orders in which cells are found
//! ([`HeldOutRows::by_orders`]).

use anyhow::{Context, Result};
use burn::tensor::{Tensor, TensorData};
use evaluation::tables::{NatsPerCell, importance_weighted_bound};
use kernels::segment_log_softmax;
use noising::Transition;
use rand::seq::index;
use training::{Purpose, Streams, streams};

use super::scores::{Score, TEST, sample};
use crate::sampling::Model;

/// Rows whose bound is measured, at the most.
const ROWS: usize = 1000;

/// Timesteps of each of them.
const TIMESTEPS: usize = 64;

/// Orders in which the cells of each of them are found.
const ORDERS: usize = 64;

/// Held-out rows, and the network that is asked how likely they are.
pub struct HeldOutRows<'a> {
    /// The network.
    pub model: &'a Model,
    /// How many rows there are.
    pub count: usize,
    /// Reads rows, as the network learns them.
    pub read: &'a dyn Fn(&[usize]) -> Result<Vec<f32>>,
    /// The class of a row.
    pub label: &'a dyn Fn(usize) -> Option<usize>,
}

impl HeldOutRows<'_> {
    /// The variational bound on the categories of each of at most a thousand rows, in nats a row: each at timesteps of
    /// its own, spread evenly over the chain. `None` where rows have no categories.
    ///
    /// # Errors
    ///
    /// Rows that cannot be read, and values that the device does not give back.
    pub fn by_timesteps(&self) -> Result<Option<Vec<f64>>> {
        let Self { model, .. } = self;
        let chain = model.chain.categories();
        if chain.num_columns() == 0 {
            return Ok(None);
        }
        let [len, ..] = model.network.example_shape();
        let timesteps = model.chain.schedule().num_train_timesteps();
        let prior: f64 = chain.prior_terms().iter().sum();
        let bound_of = |row: usize| {
            let mut rng = Streams::new(0).at(Purpose::HeldOut, row as u64);
            let shape = [TIMESTEPS, len, 1, 1];
            let values = (self.read)(&[row])?.repeat(TIMESTEPS);
            let x_0 = Tensor::<4>::from_data(TensorData::new(values, shape), &model.device);
            let noise = streams::noise(shape, &mut rng, &model.device);
            // One in each of as many equal parts of the chain.
            let offset = streams::timesteps(1, timesteps, &mut rng)[0];
            let stride = timesteps as f64 / TIMESTEPS as f64;
            let chosen: Vec<usize> = (0..TIMESTEPS)
                .map(|part| (part as f64 * stride + offset as f64 / TIMESTEPS as f64) as usize)
                .map(|t| t.min(timesteps - 1))
                .collect();
            let x_t = model.chain.q_sample(x_0.clone(), noise, &chosen);
            let log_p = self.log_p(row, x_t.clone(), &chosen);
            let (_, x_0) = model.chain.split(x_0);
            let (_, x_t) = model.chain.split(x_t);
            let terms = values_of(chain.bound(x_0, x_t, log_p, &chosen))?;
            let sum: f64 = terms.iter().map(|&term| f64::from(term)).sum();
            Ok(prior + sum * timesteps as f64 / TIMESTEPS as f64)
        };
        let bounds: Result<_> = self.chosen().into_iter().map(bound_of).collect();
        bounds.map(Some)
    }

    /// The bound on each of at most a thousand rows of categories alone, in nats a row, for cells that are found one by
    /// one, in an order that is drawn by chance: 64 orders a row are weighed by how likely they make it
    /// ([`importance_weighted_bound`]). That is how the absorbing chain draws a row, in as many steps as there are cells
    /// or more (Hoogeboom et al. 2022, "Autoregressive Diffusion Models", section 3), and nearer to its likelihood than
    /// [`by_timesteps`](Self::by_timesteps), where all orders count alike. `None` for other rows.
    ///
    /// Orders are drawn alike: in a network whose conditional distributions agree with each other, all make a row as
    /// likely. Drawing cells first that are likely to have their values (the proposal that is best for a step alone)
    /// is far from the best for the whole: 2.31 nats a character where these have 2.01 (docs/results.md).
    ///
    /// # Errors
    ///
    /// Rows that cannot be read, and values that the device does not give back.
    pub fn by_orders(&self) -> Result<Option<Vec<f64>>> {
        let Self { model, .. } = self;
        let chain = model.chain.categories();
        let columns = chain.num_columns();
        let is_of_categories = model.network.example_shape()[0] == columns;
        if chain.transition() != Transition::Absorbing || !is_of_categories {
            return Ok(None);
        }
        let masks = chain.num_categories().iter().map(|&count| count as f32);
        let masks: Vec<f32> = masks.collect();
        let alphas_cumprod = chain.schedule().alphas_cumprod();
        let shape = [ORDERS, columns];
        let bound_of = |row: usize| {
            let mut rng = Streams::new(0).at(Purpose::Orders, row as u64);
            let orders: Vec<Vec<usize>> = (0..ORDERS)
                .map(|_| index::sample(&mut rng, columns, columns).into_vec())
                .collect();
            let cells = (self.read)(&[row])?;
            let x_0 = TensorData::new(cells.repeat(ORDERS), shape);
            let x_0 = Tensor::<2>::from_data(x_0, &model.device);
            let mut states = masks.repeat(ORDERS);
            let mut costs = vec![0.0; ORDERS];
            for found in 0..columns {
                // The first timestep that keeps no more cells than are found.
                let kept = found as f64 / columns as f64;
                let t = alphas_cumprod.partition_point(|&alpha_cumprod| alpha_cumprod > kept);
                let t = t.min(alphas_cumprod.len() - 1);
                let x_t = TensorData::new(states.clone(), shape);
                let x_t = Tensor::<2>::from_data(x_t, &model.device);
                let asked = x_t.clone().reshape([ORDERS, columns, 1, 1]);
                let log_p = self.log_p(row, asked, &[t; ORDERS]);
                let nats = values_of(chain.cross_entropy(x_0.clone(), x_t, log_p))?;
                for (place, (order, cost)) in orders.iter().zip(&mut costs).enumerate() {
                    let cell = place * columns + order[found];
                    *cost += f64::from(nats[cell]);
                    states[cell] = cells[order[found]];
                }
            }
            Ok(importance_weighted_bound(&costs))
        };
        let bounds: Result<_> = self.chosen().into_iter().map(bound_of).collect();
        bounds.map(Some)
    }

    /// The rows whose bound is measured.
    fn chosen(&self) -> Vec<usize> {
        sample(ROWS, self.count, 4)
    }

    /// ln p(x_0 | x_t) of every category, for states `[B, C, 1, 1]` of a row: `[B, ΣK]`.
    fn log_p(&self, row: usize, x_t: Tensor<4>, timesteps: &[usize]) -> Tensor<2> {
        let chain = self.model.chain.categories();
        let labels = vec![(self.label)(row); timesteps.len()];
        let numbers = x_t.dims()[1] - chain.num_columns();
        let predicted = self.model.predict_each(0, x_t, timesteps, &labels);
        let logits = predicted.narrow(1, numbers, chain.num_logits());
        segment_log_softmax(logits.flatten::<2>(1, 3), chain.num_categories())
    }
}

fn values_of(tensor: Tensor<2>) -> Result<Vec<f32>> {
    let values = tensor.try_into_vec_as();
    values.context("cannot read the bound back from the device")
}

/// The score of bounds in nats a row, for so many cells a row on average.
///
/// # Errors
///
/// Fewer than two rows.
pub fn bound_score(name: &'static str, bounds: &[f64], cells: f64) -> Result<Score> {
    let found = NatsPerCell::of(bounds, 1)?;
    Ok(Score {
        name,
        value: found.mean / cells,
        deviation: Some(found.standard_error / cells),
        real: None,
        samples: bounds.len(),
        real_samples: None,
        features: None,
        reference: TEST.to_owned(),
        reference_samples: None,
        sampler: None,
        definition: None,
    })
}
