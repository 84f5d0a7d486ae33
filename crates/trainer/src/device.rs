//! The devices that this build can use: the only file that knows which backends are compiled in.
//!
//! A device is named `BACKEND` or `BACKEND:INDEX`, as in `flex` or `wgpu:1`; one of another machine
//! `remote:ws://HOST:PORT#INDEX`.

use std::fmt;
use std::panic::{self, AssertUnwindSafe};

use burn::tensor::{Device, DeviceType};
use thiserror::Error;
use training::Precision;

use crate::invocation::{build_hint, hint};
#[cfg(feature = "remote")]
use crate::remote::{self, RemoteError};

#[cfg(not(any(
    feature = "flex",
    feature = "ndarray",
    feature = "wgpu",
    feature = "vulkan",
    feature = "metal",
    feature = "cuda",
    feature = "rocm"
)))]
compile_error!(
    "no backend: build `trainer` with at least one of the features flex, ndarray, wgpu, vulkan, \
     metal, cuda, rocm (flex is the default; it is off with --no-default-features)"
);

/// A backend of burn. Its name is also the cargo feature that compiles it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// NVIDIA GPUs.
    Cuda,
    /// Apple GPUs.
    Metal,
    /// AMD GPUs.
    Rocm,
    /// GPUs with a Vulkan driver.
    Vulkan,
    /// GPUs through whatever graphics API the system has.
    Wgpu,
    /// burn's CPU backend.
    Flex,
    /// burn's older CPU backend.
    NdArray,
    /// What a worker on another machine serves.
    Remote,
}

impl Backend {
    /// All backends, the one to prefer first.
    pub const ALL: [Self; 8] = [
        Self::Cuda,
        Self::Metal,
        Self::Rocm,
        Self::Vulkan,
        Self::Wgpu,
        Self::Flex,
        Self::NdArray,
        Self::Remote,
    ];

    /// The name in `--device` and the cargo feature.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::Metal => "metal",
            Self::Rocm => "rocm",
            Self::Vulkan => "vulkan",
            Self::Wgpu => "wgpu",
            Self::Flex => "flex",
            Self::NdArray => "ndarray",
            Self::Remote => "remote",
        }
    }

    /// Whether it computes in the memory of the machine.
    pub fn is_host(self) -> bool {
        matches!(self, Self::Flex | Self::NdArray)
    }

    fn device_type(self) -> Option<DeviceType> {
        match self {
            #[cfg(feature = "cuda")]
            Self::Cuda => Some(DeviceType::Cuda),
            #[cfg(feature = "metal")]
            Self::Metal => Some(DeviceType::Metal),
            #[cfg(feature = "rocm")]
            Self::Rocm => Some(DeviceType::Rocm),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => Some(DeviceType::Vulkan),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Some(DeviceType::Wgpu),
            #[cfg(feature = "flex")]
            Self::Flex => Some(DeviceType::Flex),
            #[cfg(feature = "ndarray")]
            Self::NdArray => Some(DeviceType::NdArray),
            // Which devices there are depends on the worker.
            Self::Remote => None,
            #[allow(unreachable_patterns)] // with every backend compiled in
            _ => None,
        }
    }

    /// Whether the backend is compiled in.
    pub fn is_compiled_in(self) -> bool {
        self.device_type().is_some() || (self == Self::Remote && cfg!(feature = "remote"))
    }

    /// The devices of this backend on this machine; none where the backend is not compiled in or
    /// its driver is missing.
    fn devices(self) -> Vec<Device> {
        let Some(device_type) = self.device_type() else {
            return Vec::new();
        };
        #[cfg(feature = "persistence")]
        if !self.is_host() {
            kernels::keep_compiled();
        }
        // The GPU runtimes panic where their driver cannot be loaded; for a list of what there is,
        // that only means that there is nothing.
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let devices = panic::catch_unwind(AssertUnwindSafe(|| {
            Device::enumerate(device_type).into_vec()
        }));
        panic::set_hook(hook);
        devices.unwrap_or_default()
    }

    /// Whether `device` is a processor that plays a GPU, as Mesa's llvmpipe does: useful for
    /// tests, never the best choice.
    fn is_software(self, device: &Device) -> bool {
        match self {
            #[cfg(feature = "wgpu")]
            Self::Wgpu => *device == Device::wgpu(burn::tensor::DeviceKind::Cpu),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => *device == Device::vulkan(burn::tensor::DeviceKind::Cpu),
            _ => {
                let _ = device;
                false
            }
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A device that can be picked, with the name that picks it.
#[derive(Debug, Clone)]
pub struct NamedDevice {
    /// `BACKEND:INDEX`, or `BACKEND` for the first of its backend; of a worker `remote:ws://HOST:PORT#INDEX`.
    pub name: String,
    /// Its backend.
    pub backend: Backend,
    /// Whether a processor plays this GPU.
    pub is_software: bool,
    /// The handle, without autodiff.
    pub device: Device,
}

/// A device that cannot be had.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// No such backend exists.
    #[error(
        "unknown device {name:?}: expected one of {known}, as in `flex` or `wgpu:1`",
        known = Backend::ALL.map(Backend::name).join(", ")
    )]
    Unknown {
        /// The name as given.
        name: String,
    },
    /// The backend exists but is not in this build.
    #[error(
        "the device {name:?} is not compiled in: build with `{}` (this build has: {})",
        build_hint(backend.name()),
        compiled_in().join(", ")
    )]
    NotCompiledIn {
        /// The name as given.
        name: String,
        /// Its backend.
        backend: Backend,
    },
    /// The backend finds no such device on this machine.
    #[error(
        "there is no device {name:?} on this machine: the backend {backend} finds {found} \
         device(s) here; `{}` lists them",
        hint("devices")
    )]
    Absent {
        /// The name as given.
        name: String,
        /// Its backend.
        backend: Backend,
        /// How many devices that backend finds.
        found: usize,
    },
    /// The device does not compute in the precision that is asked for.
    #[error("the device {name:?} does not compute in {precision}; it has {has}")]
    Precision {
        /// The name of the device.
        name: String,
        /// What was asked for.
        precision: Precision,
        /// What it has, as a list of names.
        has: String,
    },
    /// A worker that cannot be used.
    #[cfg(feature = "remote")]
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// No backend of this build finds a device.
    #[error("no device: none of the backends of this build ({}) finds one", compiled_in().join(", "))]
    None,
}

impl DeviceError {
    /// Whether what was typed is wrong, and not another machine.
    pub fn is_usage(&self) -> bool {
        match self {
            #[cfg(feature = "remote")]
            Self::Remote(error) => error.is_usage(),
            _ => true,
        }
    }
}

fn compiled_in() -> Vec<&'static str> {
    Backend::ALL
        .into_iter()
        .filter(|backend| backend.is_compiled_in())
        .map(Backend::name)
        .collect()
}

/// Every device that this build can use on this machine, the best first.
pub fn available() -> Vec<NamedDevice> {
    Backend::ALL.into_iter().flat_map(devices_of).collect()
}

/// The device that `name` asks for; without a name, the one that the environment variable
/// `BURN_DEVICE` names; without either, the best one of this machine.
pub fn select(name: Option<&str>) -> Result<NamedDevice, DeviceError> {
    let from_environment = std::env::var("BURN_DEVICE").ok();
    match name.or(from_environment.as_deref()) {
        Some(name) => by_name(name),
        None => {
            let mut devices = available();
            // A processor that plays a GPU is slower than the CPU backends.
            devices.sort_by_key(|device| device.is_software);
            devices.into_iter().next().ok_or(DeviceError::None)
        }
    }
}

/// The devices that `names` ask for, in that order, of which each may come more than once; without a name the one of
/// [`select`].
pub fn select_all(names: &[String]) -> Result<Vec<NamedDevice>, DeviceError> {
    if names.is_empty() {
        return Ok(vec![select(None)?]);
    }
    names.iter().map(|name| by_name(name)).collect()
}

/// Refuses a precision that one of the devices does not compute in.
///
/// # Errors
///
/// [`DeviceError::Precision`], of the first such device.
pub fn check_precision(devices: &[NamedDevice], precision: Precision) -> Result<(), DeviceError> {
    for NamedDevice { name, device, .. } in devices {
        let has = precisions(device);
        if !has.contains(&precision.name()) {
            return Err(DeviceError::Precision {
                name: name.clone(),
                precision,
                has: has.join(", "),
            });
        }
    }
    Ok(())
}

/// The names of the precisions that a device computes in.
pub fn precisions(device: &Device) -> Vec<&'static str> {
    Precision::ALL
        .into_iter()
        .filter(|precision| device.supports_dtype(precision.dtype()))
        .map(Precision::name)
        .collect()
}

/// Their names, as `--device` takes them.
pub fn names(devices: &[NamedDevice]) -> String {
    let names: Vec<&str> = devices.iter().map(|device| &device.name[..]).collect();
    names.join(",")
}

/// Their handles, without autodiff.
pub fn handles(devices: &[NamedDevice]) -> Vec<Device> {
    devices.iter().map(|named| named.device.clone()).collect()
}

/// A device for a few numbers that are read back at once: the processor where this build has a backend for it,
/// else the best device there is.
///
/// # Errors
///
/// [`DeviceError::None`].
pub fn nearest() -> Result<Device, DeviceError> {
    match hosts().next() {
        Some(host) => Ok(host),
        None => Ok(select(None)?.device),
    }
}

/// The processor, by each backend of this build that computes on it. No driver is looked for.
fn hosts() -> impl Iterator<Item = Device> {
    let hosts = Backend::ALL.into_iter().filter(|backend| backend.is_host());
    let compiled_in = hosts.filter_map(Backend::device_type);
    compiled_in.flat_map(|device_type| Device::enumerate(device_type).into_vec())
}

/// Whether what `device` computes is computed by the processor that asks for it.
pub fn is_host(device: &Device) -> bool {
    hosts().any(|host| host == *device)
}

fn by_name(name: &str) -> Result<NamedDevice, DeviceError> {
    let unknown = || DeviceError::Unknown {
        name: name.to_owned(),
    };
    let (backend, index) = match name.split_once(':') {
        Some((backend, index)) => (backend, Some(index)),
        None => (name, None),
    };
    let backend = Backend::ALL
        .into_iter()
        .find(|known| known.name() == backend.to_lowercase())
        .ok_or_else(unknown)?;
    if !backend.is_compiled_in() {
        return Err(DeviceError::NotCompiledIn {
            name: name.to_owned(),
            backend,
        });
    }
    #[cfg(feature = "remote")]
    if backend == Backend::Remote {
        let (device, name) = remote::device(name)?;
        return Ok(far(device, name));
    }
    let index = index.map_or(Ok(0), |index| index.parse().map_err(|_| unknown()))?;
    let mut devices = devices_of(backend);
    if index >= devices.len() {
        return Err(DeviceError::Absent {
            name: name.to_owned(),
            backend,
            found: devices.len(),
        });
    }
    Ok(devices.swap_remove(index))
}

/// Every device of the worker at `ws://HOST:PORT`.
///
/// # Errors
///
/// [`DeviceError::Remote`].
#[cfg(feature = "remote")]
pub fn available_at(worker: &str) -> Result<Vec<NamedDevice>, DeviceError> {
    let devices = remote::devices(worker)?.into_iter();
    Ok(devices.map(|(device, name)| far(device, name)).collect())
}

/// A device of another machine.
#[cfg(feature = "remote")]
fn far(device: Device, name: String) -> NamedDevice {
    NamedDevice {
        name,
        backend: Backend::Remote,
        is_software: false,
        device,
    }
}

fn devices_of(backend: Backend) -> Vec<NamedDevice> {
    let named = |(index, device): (usize, Device)| NamedDevice {
        name: match index {
            0 => backend.name().to_owned(),
            _ => format!("{backend}:{index}"),
        },
        backend,
        is_software: backend.is_software(&device),
        device,
    };
    backend
        .devices()
        .into_iter()
        .enumerate()
        .map(named)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_device_is_picked_by_name() {
        let device = by_name("flex").unwrap();
        assert_eq!(device.backend, Backend::Flex);
        assert_eq!(device.name, "flex");
    }

    #[test]
    fn the_processor_is_the_host() {
        for NamedDevice {
            backend, device, ..
        } in available()
        {
            assert_eq!(is_host(&device), backend.is_host(), "{backend}");
        }
    }

    #[test]
    fn names_that_mean_nothing_are_refused() {
        for name in ["", "gpu", "flex:x", "flex:-1", ":"] {
            let error = by_name(name).unwrap_err();
            assert!(
                matches!(error, DeviceError::Unknown { .. }),
                "{name}: {error}"
            );
        }
        let error = by_name("flex:7").unwrap_err().to_string();
        assert!(error.contains("finds 1 device"), "{error}");
    }

    #[test]
    fn a_backend_that_is_not_compiled_in_names_its_feature() {
        for backend in Backend::ALL.into_iter().filter(|b| !b.is_compiled_in()) {
            let error = by_name(backend.name()).unwrap_err().to_string();
            assert!(error.contains(&format!("--features {backend}")), "{error}");
        }
    }
}
