//! What is asked of the data.

use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;

/// Examples to learn from, by their index.
#[expect(clippy::len_without_is_empty, reason = "there is always one")]
pub trait Data: Send + Sync + 'static {
    /// What may go wrong when examples are read.
    type Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send;

    /// The number of examples, at least one.
    fn len(&self) -> usize;

    /// Channels, height and width of an example.
    fn example_shape(&self) -> [usize; 3];

    /// The class of an example, if it has one.
    fn label(&self, _index: usize) -> Option<usize> {
        None
    }

    /// The values of the examples of these `indices`: each channel, row, column.
    ///
    /// # Errors
    ///
    /// What keeps them from being read.
    fn read(&self, indices: &[usize]) -> Result<Vec<f32>, Self::Error>;

    /// As [`read`](Self::read), for training, where each time an example may be a little different: moved,
    /// say, as `rng` has it. A resumed run gets the same numbers of `rng`, so what is returned may depend on
    /// nothing else.
    ///
    /// # Errors
    ///
    /// As of [`read`](Self::read).
    fn read_augmented(
        &self,
        indices: &[usize],
        _rng: &mut ChaCha8Rng,
    ) -> Result<Vec<f32>, Self::Error> {
        self.read(indices)
    }

    /// Whether reading takes so long that it is done ahead, on a thread of its own.
    fn is_streamed(&self) -> bool {
        false
    }
}

/// Values as [`Data::read`] gives them as a tensor `[B, C, H, W]`.
///
/// ```
/// use burn::tensor::Device;
///
/// let two_points = training::to_tensor(vec![0.0, 1.0, 2.0, 3.0], [2, 1, 1], &Device::flex());
/// assert_eq!(two_points.dims(), [2, 2, 1, 1]);
/// ```
pub fn to_tensor(values: Vec<f32>, example_shape: [usize; 3], device: &Device) -> Tensor<4> {
    let [channels, height, width] = example_shape;
    let count = values.len() / (channels * height * width);
    let data = TensorData::new(values, [count, channels, height, width]);
    Tensor::from_data(data, device)
}
