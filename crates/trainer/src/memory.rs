//! Whether this machine has the memory for what is asked, judged before anything is removed or computed: what
//! does not fit would end the program in the middle of its work, without a word.
//!
//! What is judged is the least that is needed, so nothing is refused that would have run.

use std::fs;

use burn::tensor::Device;
use indicatif::HumanBytes;

use crate::device::NamedDevice;
use crate::network::NetworkConfig;

/// Bytes of a number in a tensor.
pub const F32: u64 = 4;

/// Copies of the parameters in training: weights, gradient, moving average and AdamW's two moments.
const COPIES_IN_TRAINING: u64 = 5;

/// What is assumed where the machine does not say what it has: more than any has.
const UNKNOWN: u64 = 1 << 44;

/// More memory than there is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// A number of things.
    #[error(
        "{number} of them take at least {} of memory, and this machine has {}: take at most {most}",
        size(*needed), size((*available).into())
    )]
    Number {
        /// How many.
        number: usize,
        /// Bytes of all of them.
        needed: u128,
        /// Bytes of memory.
        available: u64,
        /// How many would fit.
        most: u64,
    },
    /// A single thing.
    #[error(
        "it takes at least {} of memory, and this machine has {}: choose something smaller",
        size(*needed), size((*available).into())
    )]
    One {
        /// Bytes of it.
        needed: u128,
        /// Bytes of memory.
        available: u64,
    },
    /// A vector that the device has no buffer for.
    #[error(
        "its {numbers} weights are one vector in training, and the device has vectors of at most {most} numbers: choose a \
         smaller network or another device"
    )]
    Vector {
        /// Numbers of the vector.
        numbers: usize,
        /// Numbers that the longest has.
        most: u64,
    },
}

fn size(bytes: u128) -> HumanBytes {
    HumanBytes(u64::try_from(bytes).unwrap_or(u64::MAX))
}

/// Refuses a number of things, of at least `bytes_each`, that do not fit into the memory of this machine.
///
/// # Errors
///
/// How much they take, how much there is and how many would fit.
pub fn check(number: usize, bytes_each: u64) -> Result<(), TooMuch> {
    check_against(number, bytes_each, available())
}

/// Refuses a network of so many parameters where training cannot keep them in one vector on this device.
///
/// # Errors
///
/// How many there are, and how many a vector has at the most.
pub fn check_parameters(numbers: usize, device: &Device) -> Result<(), TooMuch> {
    match kernels::longest_vector(device) {
        Some(most) if numbers as u64 > most => Err(TooMuch::Vector { numbers, most }),
        _ => Ok(()),
    }
}

fn check_against(number: usize, bytes_each: u64, available: u64) -> Result<(), TooMuch> {
    let needed = number as u128 * u128::from(bytes_each);
    if needed <= u128::from(available) {
        return Ok(());
    }
    Err(match available / bytes_each.max(1) {
        0 => TooMuch::One { needed, available },
        most => TooMuch::Number {
            number,
            needed,
            available,
            most,
        },
    })
}

/// Bytes of memory that this program may use: those of the machine, or fewer where its control group says so.
fn available() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total_of(&text));
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    machine.into_iter().chain(group).min().unwrap_or(UNKNOWN)
}

/// The bytes of `MemTotal` in `/proc/meminfo`.
fn total_of(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// What a network asks of the memory of the machine, at the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Bytes of an example in a batch that is trained on.
    pub trained_example: u64,
    /// Bytes of an example in a batch that the network is called with.
    pub called_example: u64,
    /// Bytes of the parameters, with all that training keeps of them.
    pub training: u64,
}

impl Needs {
    /// Those of `network` on the first of these devices, of which each trains on a batch at once; what lies on a GPU
    /// is not in the memory of the machine.
    pub fn of(network: &NetworkConfig, devices: &[NamedDevice]) -> Self {
        let example = F32 * values(network.example_shape());
        let on_host = devices.iter().filter(|device| device.backend.is_host());
        let on_host = on_host.count() as u64;
        if on_host == 0 {
            return Self {
                trained_example: 2 * example,
                called_example: example,
                training: 0,
            };
        }
        let Layers {
            inputs,
            largest,
            parameters,
        } = Layers::of(network);
        Self {
            // x_0, its noise, and the input of every layer.
            trained_example: (2 * example)
                .saturating_add(F32.saturating_mul(inputs))
                .saturating_mul(on_host),
            called_example: example.saturating_add(F32.saturating_mul(largest)),
            training: parameters.saturating_mul(F32 * COPIES_IN_TRAINING),
        }
    }

    /// The same where training computes again what is within a residual block, if so: of the inputs of its two
    /// convolutions one is kept.
    #[must_use]
    pub fn recomputing(mut self, recomputes: bool) -> Self {
        if recomputes {
            self.trained_example /= 2;
        }
        self
    }
}

/// The number of values of an example.
pub fn values(shape: [usize; 3]) -> u64 {
    shape
        .into_iter()
        .fold(1, |all, side| all.saturating_mul(side as u64))
}

/// What the layers of a network hold; of a U-Net its convolutions of 3 × 3 alone.
#[derive(Debug, Clone, Copy, Default)]
struct Layers {
    /// Values of an example at the inputs of all layers.
    inputs: u64,
    /// The same of the largest layer.
    largest: u64,
    parameters: u64,
}

impl Layers {
    fn of(network: &NetworkConfig) -> Self {
        let mut all = Self::default();
        match network {
            NetworkConfig::UNet(unet) => {
                // On the way down and on the way up, two a block.
                let layers = 2 * (2 * unet.layers_per_block as u64 + 1);
                for (level, &channels) in unet.block_out_channels.iter().enumerate() {
                    let side = |side: usize| side >> level.min(63);
                    let size = unet.sample_size;
                    let input = values([channels, side(size.height), side(size.width)]);
                    let kernel = values([channels, channels, 9]);
                    all.add(layers, input, kernel);
                }
            }
            NetworkConfig::Mlp(mlp) => {
                let (width, outputs) = (mlp.width as u64, mlp.outputs() as u64);
                all.add(mlp.blocks as u64, width, width.saturating_mul(width));
                all.add(1, outputs, width.saturating_mul(outputs));
            }
            NetworkConfig::Transformer(transformer) => {
                let (width, columns) = (transformer.width as u64, transformer.columns() as u64);
                // Queries, keys, values and their sum, and two layers of four times the width.
                all.add(
                    transformer.layers as u64,
                    12 * columns.saturating_mul(width),
                    12 * width.saturating_mul(width),
                );
                all.add(1, transformer.outputs() as u64, 0);
            }
        }
        all
    }

    /// Adds so many layers of a size.
    fn add(&mut self, layers: u64, input: u64, parameters: u64) {
        self.inputs = self.inputs.saturating_add(layers.saturating_mul(input));
        self.largest = self.largest.max(input);
        let parameters = layers.saturating_mul(parameters);
        self.parameters = self.parameters.saturating_add(parameters);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        assert!(check_against(10, 100, 1000).is_ok());
        let error = check_against(11, 100, 1000).unwrap_err().to_string();
        assert!(error.starts_with("11 of them take at least"), "{error}");
        assert!(error.ends_with("at most 10"), "{error}");
        let error = check_against(1, 2000, 1000).unwrap_err().to_string();
        assert!(error.starts_with("it takes at least"), "{error}");
        for (number, each) in [(usize::MAX, u64::MAX), (usize::MAX, 1)] {
            assert!(check_against(number, each, UNKNOWN).is_err());
        }
        assert!(check_against(0, u64::MAX, 0).is_ok());
    }

    #[test]
    fn the_memory_of_the_machine_is_read() {
        let text = "MemFree:  1 kB\nMemTotal:       16384 kB\nSwap: 3 kB\n";
        assert_eq!(total_of(text), Some(16 << 20));
        assert_eq!(total_of("nothing"), None);
        assert!(available() > 1 << 20);
    }

    #[test]
    fn a_larger_network_needs_more_and_none_is_too_large_to_count() {
        let device = vec![crate::device::select(Some("flex")).unwrap()];
        let mut unet = unet::UNetConfig::default();
        let needs = Needs::of(&NetworkConfig::UNet(unet.clone()), &device);
        // 35.7 million parameters, most of them in convolutions of 3 × 3.
        let parameters = needs.training / F32 / COPIES_IN_TRAINING;
        assert!(
            (10_000_000..36_000_000).contains(&parameters),
            "{parameters}"
        );
        unet.sample_size = 64.into();
        let twice = [device.clone(), device.clone()].concat();
        let on_two = Needs::of(&NetworkConfig::UNet(unet.clone()), &twice);
        let larger = Needs::of(&NetworkConfig::UNet(unet.clone()), &device);
        assert!(larger.trained_example > 3 * needs.trained_example);
        assert_eq!(on_two.trained_example, 2 * larger.trained_example);
        assert_eq!(on_two.called_example, larger.called_example);
        unet.block_out_channels = vec![usize::MAX; 70];
        let most = Needs::of(&NetworkConfig::UNet(unet), &device);
        assert_eq!(most.training, u64::MAX);
    }
}
