//! What a sampler is: the trait, the states that it yields, and the iterator over them.

use burn::tensor::Tensor;

/// What a sampler yields after each step.
#[derive(Debug, Clone)]
pub struct State<const D: usize> {
    /// The step, from 0 up.
    pub index: usize,
    /// The timestep that the network was called with (the first call, if there were several).
    pub timestep: f64,
    /// The less noisy x that the step led to. After the last step it is the sample.
    pub x: Tensor<D>,
    /// The x_0 predicted in this step, clipped if the sampler clips.
    pub predicted_x_0: Tensor<D>,
}

/// A way from noise to data in a fixed number of steps.
///
/// A step may call the network several times (Heun and other methods of second order do) and may keep
/// what it learnt for the steps that follow (multistep methods do), hence `&mut self`. Step 0 begins
/// a new sample and forgets any history.
pub trait Sampler<const D: usize> {
    /// The number of steps.
    fn num_steps(&self) -> usize;

    /// Step `index`, from `x_t` to the next x. `model` maps (x, timestep) to the network's prediction
    /// for the whole batch; `noise` gives N(0, I) of the shape of x and is called only when the step
    /// needs it.
    ///
    /// Steps are taken in the order 0, 1, …, each from the x that the one before has led to, or from
    /// what the caller has made of it. A step may be taken again, from an x_t that was noised anew
    /// ("resampling"): it then uses nothing that was learnt on the way to the x_t of the first time, and
    /// leaves to the next step what the last time has learnt.
    ///
    /// # Panics
    ///
    /// Unless `index` is below [`num_steps`](Self::num_steps), or if a tensor is not of the shape of
    /// `x_t`.
    fn step(
        &mut self,
        index: usize,
        x_t: Tensor<D>,
        model: &mut dyn FnMut(Tensor<D>, f64) -> Tensor<D>,
        noise: &mut dyn FnMut() -> Tensor<D>,
    ) -> State<D>;
}

impl<const D: usize, S: Sampler<D> + ?Sized> Sampler<D> for Box<S> {
    fn num_steps(&self) -> usize {
        (**self).num_steps()
    }

    fn step(
        &mut self,
        index: usize,
        x_t: Tensor<D>,
        model: &mut dyn FnMut(Tensor<D>, f64) -> Tensor<D>,
        noise: &mut dyn FnMut() -> Tensor<D>,
    ) -> State<D> {
        (**self).step(index, x_t, model, noise)
    }
}

/// The denoising of one batch: an iterator over the states of a sampler.
pub struct Denoising<const D: usize, S, M, N> {
    sampler: S,
    x: Tensor<D>,
    next_index: usize,
    model: M,
    noise: N,
}

impl<const D: usize, S, M, N> Denoising<D, S, M, N>
where
    S: Sampler<D>,
    M: FnMut(Tensor<D>, f64) -> Tensor<D>,
    N: FnMut() -> Tensor<D>,
{
    /// Starts from `x_t` at the sampler's first timestep: N(0, I) at the end of the chain. `model` and
    /// `noise` are as in [`Sampler::step`].
    pub fn new(sampler: S, x_t: Tensor<D>, model: M, noise: N) -> Self {
        Self {
            sampler,
            x: x_t,
            next_index: 0,
            model,
            noise,
        }
    }
}

impl<const D: usize, S, M, N> Iterator for Denoising<D, S, M, N>
where
    S: Sampler<D>,
    M: FnMut(Tensor<D>, f64) -> Tensor<D>,
    N: FnMut() -> Tensor<D>,
{
    type Item = State<D>;

    fn next(&mut self) -> Option<State<D>> {
        if self.next_index == self.sampler.num_steps() {
            return None;
        }
        let state = self.sampler.step(
            self.next_index,
            self.x.clone(),
            &mut self.model,
            &mut self.noise,
        );
        self.next_index += 1;
        self.x = state.x.clone();
        Some(state)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.sampler.num_steps() - self.next_index;
        (left, Some(left))
    }
}

impl<const D: usize, S, M, N> ExactSizeIterator for Denoising<D, S, M, N>
where
    S: Sampler<D>,
    M: FnMut(Tensor<D>, f64) -> Tensor<D>,
    N: FnMut() -> Tensor<D>,
{
}
