//! The chains of a table's numbers and of its categories, as one.
//!
//! A row is an example of N numbers and then C category codes, in dimension 1: `[B, N + C, 1, …, 1]`. Given
//! x_0 its cells are noised independently, the numbers as [`Chain`] has it and the categories as
//! [`CategoricalChain`], with one schedule (Kotelnikov et al. 2023, "TabDDPM", section 3). So noise of the
//! shape of x serves for both: where a category needs a uniform number it is Φ(z), z being the normal
//! number of its cell and Φ the normal distribution function.

use std::f64::consts::FRAC_1_SQRT_2;

use burn::tensor::Tensor;

use crate::categorical::{CategoricalChain, CategoryCountError, Transition};
use crate::{Chain, Marginal, NoiseSchedule};

/// The forward Markov chain of rows of numbers and categories.
///
/// x is `[B, N + C, 1, …, 1]` of any rank from 2 up; noise has the shape of x and is drawn from N(0, I), for
/// the categories too.
///
/// # Panics
///
/// Methods panic as those of [`Chain`] and [`CategoricalChain`] do, and where x has fewer channels than there
/// are categorical columns.
#[derive(Debug, Clone, PartialEq)]
pub struct MixedChain {
    numbers: Chain,
    categories: CategoricalChain,
}

impl MixedChain {
    /// The chain of rows whose last C channels are categorical, of so many categories each.
    ///
    /// # Errors
    ///
    /// As [`CategoricalChain::new`].
    pub fn new(
        schedule: NoiseSchedule,
        transition: Transition,
        num_categories: Vec<usize>,
    ) -> Result<Self, CategoryCountError> {
        Ok(Self {
            categories: CategoricalChain::new(schedule.clone(), transition, num_categories)?,
            numbers: Chain::new(schedule),
        })
    }

    /// The chain of the numbers.
    pub fn numbers(&self) -> &Chain {
        &self.numbers
    }

    /// The chain of the categories.
    pub fn categories(&self) -> &CategoricalChain {
        &self.categories
    }

    /// The noise schedule of both.
    pub fn schedule(&self) -> &NoiseSchedule {
        self.numbers.schedule()
    }

    /// Steps 0 to t at once.
    pub fn q_sample<const D: usize>(
        &self,
        x_0: Tensor<D>,
        noise: Tensor<D>,
        timesteps: &[usize],
    ) -> Tensor<D> {
        self.each(
            x_0,
            noise,
            |x_0, noise| self.numbers.q_sample(x_0, noise, timesteps),
            |x_0, uniforms| self.categories.q_sample(x_0, uniforms, timesteps),
        )
    }

    /// One Markov step. At t = 0, `x_prev` is x_0.
    pub fn q_step<const D: usize>(
        &self,
        x_prev: Tensor<D>,
        noise: Tensor<D>,
        timesteps: &[usize],
    ) -> Tensor<D> {
        self.each(
            x_prev,
            noise,
            |x_prev, noise| self.numbers.q_step(x_prev, noise, timesteps),
            |x_prev, uniforms| self.categories.q_step(x_prev, uniforms, timesteps),
        )
    }

    /// Steps that together keep a share `keep` of the signal's variance, and each category with that
    /// probability: ᾱ_t leads from x_0 to x_t, ᾱ_t / ᾱ_s from x_s. `keep` is in [0, 1].
    pub fn q_keep<const D: usize>(&self, x: Tensor<D>, noise: Tensor<D>, keep: f64) -> Tensor<D> {
        self.each(
            x,
            noise,
            |x, noise| Marginal::new(keep).x_t(x, noise),
            |x, uniforms| self.categories.q_keep(x, uniforms, keep),
        )
    }

    /// x_T, where sampling starts: noise for the numbers, masks or categories drawn uniformly for the rest.
    pub fn pure_noise<const D: usize>(&self, noise: Tensor<D>) -> Tensor<D> {
        self.each(
            noise.zeros_like(),
            noise,
            |_, noise| noise,
            |zeros, uniforms| self.categories.q_keep(zeros, uniforms, 0.0),
        )
    }

    /// The numbers of rows, `[B, N, 1, …, 1]`, and what stands in the categorical columns, `[B, C]`. There
    /// are no numbers where N is 0.
    pub fn split<const D: usize>(&self, x: Tensor<D>) -> (Option<Tensor<D>>, Tensor<2>) {
        let columns = self.categories.num_columns();
        let dims = x.dims();
        let cells: usize = dims[1..].iter().product();
        assert!(
            cells == dims[1] && columns <= cells,
            "rows of {columns} categorical columns at least, of one value each"
        );
        let num_numbers = cells - columns;
        let categories = x.clone().narrow(1, num_numbers, columns);
        let numbers = (num_numbers > 0).then(|| x.narrow(1, 0, num_numbers));
        (numbers, categories.reshape([dims[0], columns]))
    }

    /// The rows of these numbers and categories: the inverse of [`split`](Self::split).
    pub fn join<const D: usize>(
        &self,
        numbers: Option<Tensor<D>>,
        categories: Tensor<2>,
    ) -> Tensor<D> {
        let mut shape = [1; D];
        [shape[0], shape[1]] = categories.dims();
        let categories = categories.reshape(shape);
        match numbers {
            Some(numbers) => Tensor::cat(vec![numbers, categories], 1),
            None => categories,
        }
    }

    /// Φ of normal numbers: uniform ones, in f32 to one part in 10⁷.
    pub fn uniforms(noise: Tensor<2>) -> Tensor<2> {
        noise
            .mul_scalar(FRAC_1_SQRT_2)
            .erf()
            .mul_scalar(0.5)
            .add_scalar(0.5)
    }

    /// Numbers and categories each by its own function of (x, noise) or (codes, uniform numbers).
    fn each<const D: usize>(
        &self,
        x: Tensor<D>,
        noise: Tensor<D>,
        numbers: impl FnOnce(Tensor<D>, Tensor<D>) -> Tensor<D>,
        categories: impl FnOnce(Tensor<2>, Tensor<2>) -> Tensor<2>,
    ) -> Tensor<D> {
        assert_eq!(x.dims(), noise.dims(), "noise must have the shape of x");
        if self.categories.num_columns() == 0 {
            return numbers(x, noise);
        }
        let (x, codes) = self.split(x);
        let (noise, normals) = self.split(noise);
        let codes = categories(codes, Self::uniforms(normals));
        let x = x.zip(noise).map(|(x, noise)| numbers(x, noise));
        self.join(x, codes)
    }
}

impl From<Chain> for MixedChain {
    /// The chain of rows without categories, images among them: x may then be of any shape.
    fn from(numbers: Chain) -> Self {
        Self {
            categories: CategoricalChain::without_columns(numbers.schedule().clone()),
            numbers,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::{DType, Device, TensorData};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::StandardNormal;

    use super::*;

    const COUNTS: [usize; 3] = [4, 2, 6];

    fn chain(transition: Transition) -> MixedChain {
        let schedule = NoiseSchedule::from_betas(vec![0.1, 0.2, 0.4]).unwrap();
        MixedChain::new(schedule, transition, COUNTS.to_vec()).unwrap()
    }

    fn tensor<const D: usize>(values: Vec<f64>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(
            TensorData::new(values, shape),
            (&Device::flex(), DType::F64),
        )
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
        tensor.try_into_vec_as().unwrap()
    }

    fn rows() -> (Vec<f64>, Vec<f64>) {
        let rng = &mut ChaCha8Rng::seed_from_u64(8);
        let x = (0..4).flat_map(|row| [0.5, -1.0, row as f64, 1.0, 5.0 - row as f64]);
        (
            x.collect(),
            rng.sample_iter(StandardNormal).take(20).collect(),
        )
    }

    /// Each kind of cell is on its own chain, at every rank.
    #[test]
    fn numbers_and_categories_are_on_their_own_chains() {
        let (x_0, noise) = rows();
        let timesteps = [0, 2, 1, 2];
        for &transition in Transition::ALL {
            let chain = chain(transition);
            let x = |values: &[f64]| tensor(values.to_vec(), [4, 5, 1, 1]);
            let x_t = chain.q_sample(x(&x_0), x(&noise), &timesteps);
            let part =
                |at, len| [&x_0, &noise].map(|x| tensor(x.clone(), [4, 5]).narrow(1, at, len));
            let [numbers, normals] = part(0, 2);
            let expected = chain.numbers().q_sample(numbers, normals, &timesteps);
            let (found, codes) = chain.split(x_t.clone());
            assert_eq!(values(found.unwrap()), values(expected));
            let [categories, normals] = part(2, 3);
            let uniforms = MixedChain::uniforms(normals);
            let expected = chain
                .categories()
                .q_sample(categories, uniforms, &timesteps);
            assert_eq!(values(codes), values(expected));
            let flat = tensor(x_0.clone(), [4, 5]);
            let flat = chain.q_sample(flat, tensor(noise.clone(), [4, 5]), &timesteps);
            assert_eq!(values(flat), values(x_t));
            for t in 0..3 {
                let keep = chain.schedule().alphas()[t];
                let [by_step, by_share] = [
                    chain.q_step(x(&x_0), x(&noise), &[t]),
                    chain.q_keep(x(&x_0), x(&noise), keep),
                ]
                .map(values);
                let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12;
                assert!(by_step.iter().zip(&by_share).all(close));
            }
        }
    }

    #[test]
    fn pure_noise_is_the_end_of_the_chain() {
        let (_, noise) = rows();
        let noise = tensor(noise, [4, 5, 1]);
        let absorbing = values(chain(Transition::Absorbing).pure_noise(noise.clone()));
        for (row, noise) in absorbing.chunks(5).zip(values(noise.clone()).chunks(5)) {
            assert_eq!((&row[..2], &row[2..]), (&noise[..2], &[4.0, 2.0, 6.0][..]));
        }
        // A category for each of K equal parts of the normal distribution.
        let uniform = chain(Transition::Uniform);
        let quartiles = [-1.0, -0.5, 0.5, 1.0].map(|z| vec![z, 0.1, -0.1]).concat();
        let codes = values(uniform.pure_noise(tensor(quartiles, [4, 3])));
        assert_eq!(codes[..2], [0.0, 1.0]);
        assert_eq!([codes[3], codes[6], codes[9]], [1.0, 2.0, 3.0]);
    }

    #[test]
    fn normal_numbers_become_uniform_ones() {
        // Φ of some numbers, from tables.
        for (z, p) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746),
            (-1.959_963_985, 0.025),
            (3.0, 0.998_650_102),
        ] {
            let found = values(MixedChain::uniforms(tensor(vec![z], [1, 1])))[0];
            assert!((found - p).abs() < 1e-7, "{z}: {found}");
        }
        let far = Tensor::<2>::from_floats([[-9.0, 9.0]], &Device::flex());
        assert_eq!(values(MixedChain::uniforms(far)), [0.0, 1.0]);
    }

    /// Without categories it is the chain of numbers, to the bit.
    #[test]
    fn images_are_on_the_chain_of_numbers() {
        let schedule = NoiseSchedule::from_betas(vec![0.1, 0.2, 0.4]).unwrap();
        let mixed = MixedChain::from(Chain::new(schedule));
        let (x_0, noise) = rows();
        let [x_0, noise] = [x_0, noise].map(|x| tensor(x, [1, 1, 5, 4]));
        let expected = mixed.numbers().q_sample(x_0.clone(), noise.clone(), &[1]);
        assert_eq!(values(mixed.q_sample(x_0, noise, &[1])), values(expected));
    }
}
