//! Mixed precision: a network that computes in half of the bits, while its weights, its optimiser and its loss
//! stay f32 (Micikevicius et al. 2018, "Mixed Precision Training").

use std::fmt;
use std::str::FromStr;

use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};

use crate::error::InvalidValue;

/// What a network computes in. Its weights are f32 in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits with the range of f32, and 8 bits of precision.
    Bf16,
    /// 16 bits with 11 of precision, from 6e-8 to 65,504.
    F16,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::F16];

    /// Its name, as a configuration has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// The type of a network's numbers.
    pub fn dtype(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::Bf16 => FloatDType::BF16,
            Self::F16 => FloatDType::F16,
        }
    }

    /// By what the mean over so many numbers is multiplied before its gradients are taken, and these are divided
    /// by afterwards, where gradients would be too small for the type (Micikevicius et al. 2018, section 3.2).
    ///
    /// The gradient of a mean over N numbers of order 1 is of order 1 / N. In f16 it is brought to 2⁻⁸: sixteen
    /// powers of two above the smallest number, and as far below the largest, which sums over many pixels
    /// reach. It is a power of two, so that it rounds nothing by itself, and depends on the batch alone, so that
    /// a run that is resumed goes on as it would have. A step whose gradients overflow all the same is skipped.
    pub(crate) fn loss_scale(self, numbers: usize) -> Option<f64> {
        match self {
            Self::F32 | Self::Bf16 => None,
            Self::F16 => Some((numbers.max(1) as f64 / 256.0).log2().floor().exp2()),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = InvalidValue;

    fn from_str(name: &str) -> Result<Self, InvalidValue> {
        let known = Self::ALL.into_iter().find(|known| known.name() == name);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            InvalidValue::new("precision", format!("{name:?}, expected one of {names}"))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_are_those_of_configurations() {
        for precision in Precision::ALL {
            assert_eq!(precision.name().parse(), Ok(precision));
            let in_file = toml::Value::try_from(precision).unwrap();
            assert_eq!(in_file.as_str(), Some(precision.name()));
        }
        let error = Precision::from_str("half").unwrap_err().to_string();
        assert_eq!(error, "precision: \"half\", expected one of f32, bf16, f16");
    }

    #[test]
    fn losses_are_scaled_by_powers_of_two() {
        assert_eq!(Precision::F16.loss_scale(128 * 3 * 32 * 32), Some(1024.0));
        assert_eq!(Precision::F16.loss_scale(256), Some(1.0));
        assert_eq!(Precision::F16.loss_scale(64), Some(0.25));
        assert_eq!(Precision::F32.loss_scale(1), None);
        assert_eq!(Precision::Bf16.loss_scale(1), None);
    }
}
