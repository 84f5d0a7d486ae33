//! Sets of feature vectors.

use nalgebra::DMatrix;

use crate::error::ScoreError;

/// Features of a set of images, a row an image: `[N, D]`, all finite.
///
/// ```
/// use evaluation::Features;
///
/// let features = Features::new(vec![1.0, 2.0, 3.0, 4.0], 2)?;
/// assert_eq!((features.len(), features.width()), (2, 2));
/// assert_eq!(features.row(1), [3.0, 4.0]);
/// # Ok::<(), evaluation::ScoreError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    values: Vec<f32>,
    width: usize,
}

impl Features {
    /// Features in row-major order, `width` numbers an image.
    ///
    /// # Errors
    ///
    /// [`ScoreError::Shape`] if they are no whole number of rows, [`ScoreError::NotFinite`].
    pub fn new(values: Vec<f32>, width: usize) -> Result<Self, ScoreError> {
        if width == 0 || !values.len().is_multiple_of(width) {
            return Err(ScoreError::Shape {
                values: values.len(),
                width,
            });
        }
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(ScoreError::NotFinite {
                sample: index / width,
                feature: index % width,
                found: values[index],
            });
        }
        Ok(Self { values, width })
    }

    /// N, the number of images.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// D, the numbers an image.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All features in row-major order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The features of image `index`.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.width..][..self.width]
    }

    /// The images one by one.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.width)
    }

    /// The images of these `indices`, in this order.
    ///
    /// # Panics
    ///
    /// If one is not below [`len`](Self::len).
    pub fn select(&self, indices: &[usize]) -> Self {
        let rows = indices.iter().flat_map(|&index| self.row(index));
        Self {
            values: rows.copied().collect(),
            width: self.width,
        }
    }

    /// The images of these `indices` as the columns of a matrix, `[D, number of indices]` in f64.
    pub(crate) fn columns(&self, indices: &[usize]) -> DMatrix<f64> {
        let values = indices.iter().flat_map(|&index| self.row(index));
        let values = values.map(|&value| f64::from(value));
        DMatrix::from_iterator(self.width, indices.len(), values)
    }
}

/// An error where the two sets are of different widths, or one has fewer than `needed` samples.
pub(crate) fn check_pair(
    score: &'static str,
    first: &Features,
    second: &Features,
    needed: usize,
) -> Result<(), ScoreError> {
    check_widths(first.width, second.width)?;
    for found in [first.len(), second.len()] {
        if found < needed {
            return Err(ScoreError::TooFewSamples {
                score,
                found,
                needed,
            });
        }
    }
    Ok(())
}

/// An error where two widths differ.
pub(crate) fn check_widths(first: usize, second: usize) -> Result<(), ScoreError> {
    if first == second {
        Ok(())
    } else {
        Err(ScoreError::Widths { first, second })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn rows_are_images() {
        let features = Features::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2).unwrap();
        assert_eq!((features.len(), features.width()), (3, 2));
        assert_eq!(features.row(1), [3.0, 4.0]);
        assert_eq!(
            features.select(&[2, 0, 2]).values(),
            [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]
        );
        assert_eq!(
            features.columns(&[2, 0]),
            DMatrix::from_column_slice(2, 2, &[5.0, 6.0, 1.0, 2.0])
        );
    }

    #[test]
    fn what_is_no_set_of_features_is_refused() {
        assert!(matches!(
            Features::new(vec![0.0; 5], 2),
            Err(ScoreError::Shape { .. })
        ));
        assert!(matches!(
            Features::new(vec![], 0),
            Err(ScoreError::Shape { .. })
        ));
        match Features::new(vec![0.0, 0.0, 0.0, f32::NAN], 2) {
            Err(ScoreError::NotFinite {
                sample, feature, ..
            }) => assert_eq!((sample, feature), (1, 1)),
            other => panic!("{other:?}"),
        }
    }
}
