//! What of an operation is no tensor, as it travels.

use std::array;
use std::slice;

use burn_ir::ScalarIr;

use crate::cpu::optimizer::Coefficients;
use crate::images::{NormOptions, Window};

/// A number, or several in order.
pub(super) trait Number: Sized {
    /// Puts it behind the others.
    fn write(self, to: &mut Vec<ScalarIr>);

    /// Takes it from the front.
    ///
    /// # Panics
    ///
    /// If there is none of its type.
    fn read(from: &mut slice::Iter<'_, ScalarIr>) -> Self;
}

macro_rules! plain_number {
    ($type:ty, $variant:ident, $wide:ty) => {
        impl Number for $type {
            fn write(self, to: &mut Vec<ScalarIr>) {
                to.push(ScalarIr::$variant(self as $wide));
            }

            fn read(from: &mut slice::Iter<'_, ScalarIr>) -> Self {
                match from.next() {
                    Some(ScalarIr::$variant(number)) => *number as $type,
                    other => panic!("{other:?} in place of a {}", stringify!($type)),
                }
            }
        }
    };
}

plain_number!(usize, UInt, u64);
plain_number!(f64, Float, f64);
// Every f32 is an f64.
plain_number!(f32, Float, f64);
plain_number!(bool, Bool, bool);

impl<T: Number, const N: usize> Number for [T; N] {
    fn write(self, to: &mut Vec<ScalarIr>) {
        for number in self {
            number.write(to);
        }
    }

    fn read(from: &mut slice::Iter<'_, ScalarIr>) -> Self {
        array::from_fn(|_| T::read(from))
    }
}

/// Numbers of a struct, in the order of the fields.
macro_rules! fields {
    ($type:ident { $($field:ident),* }) => {
        impl Number for $type {
            fn write(self, to: &mut Vec<ScalarIr>) {
                let Self { $($field),* } = self;
                $($field.write(to);)*
            }

            fn read(from: &mut slice::Iter<'_, ScalarIr>) -> Self {
                Self { $($field: Number::read(from)),* }
            }
        }
    };
}

fields!(Window {
    kernel,
    stride,
    padding,
    upsampled
});
fields!(NormOptions {
    groups,
    epsilon,
    silu
});
fields!(Coefficients {
    beta_1,
    one_minus_beta_1,
    beta_2,
    one_minus_beta_2,
    root_factor,
    epsilon,
    step_size,
    kept
});

#[cfg(test)]
mod tests {
    use super::*;

    fn back<T: Number>(number: T) -> T {
        let mut scalars = Vec::new();
        number.write(&mut scalars);
        let mut scalars = scalars.iter();
        let number = T::read(&mut scalars);
        assert!(scalars.next().is_none());
        number
    }

    #[test]
    fn numbers_come_as_they_went() {
        let window = Window {
            kernel: [3, 1],
            stride: 2,
            padding: [[0, 1], [2, 3]],
            upsampled: true,
        };
        assert_eq!(back(window), window);
        let options = NormOptions {
            groups: 8,
            epsilon: 1e-5,
            silu: false,
        };
        assert_eq!(back(options), options);
        for number in [0.1f32, f32::MIN_POSITIVE, -1.0e-42, 3.0e38] {
            assert_eq!(back(number).to_bits(), number.to_bits());
        }
    }

    #[test]
    #[should_panic(expected = "in place of a usize")]
    fn a_number_of_another_type_is_refused() {
        let mut scalars = Vec::new();
        0.5f64.write(&mut scalars);
        usize::read(&mut scalars.iter());
    }
}
