//! Where a tensor lies, and so whose kernels compute with it.

use burn::backend::DispatchDevice;
use burn::tensor::{DType, Tensor};

/// Where there are kernels of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the program's own memory.
    Host,
    /// On a GPU.
    #[cfg(feature = "gpu")]
    Gpu,
    /// On a device of another machine.
    #[cfg(feature = "remote")]
    Worker,
}

/// The device that computes, whether or not it is one of autodiff.
pub(crate) fn innermost(device: &DispatchDevice) -> DispatchDevice {
    match device {
        DispatchDevice::Autodiff(device) => innermost(&device.clone().inner()),
        other => other.clone(),
    }
}

/// Where the kernels of this crate take the tensor, if they do.
pub(crate) fn place_of<const D: usize>(x: &Tensor<D>) -> Option<Place> {
    let place = match innermost(x.device().as_dispatch()) {
        #[cfg(feature = "flex")]
        DispatchDevice::Flex(_) => Place::Host,
        #[cfg(feature = "ndarray")]
        DispatchDevice::NdArray(_) => Place::Host,
        #[cfg(feature = "gpu")]
        DispatchDevice::Cube(_) => Place::Gpu,
        #[cfg(feature = "remote")]
        DispatchDevice::Remote(_) => Place::Worker,
        #[allow(unreachable_patterns)]
        _ => return None,
    };
    let has_kernels = match (place, x.dtype()) {
        (_, DType::F32) => true,
        #[cfg(feature = "gpu")]
        (Place::Gpu, DType::F16 | DType::BF16) => true,
        _ => false,
    };
    has_kernels.then_some(place)
}

/// Whether the tensor lies in the program's own memory, where there are more kernels than elsewhere.
pub(crate) fn on_host<const D: usize>(x: &Tensor<D>) -> bool {
    place_of(x) == Some(Place::Host)
}

/// Whether the tensor lies on a GPU.
#[cfg(feature = "gpu")]
pub(crate) fn on_gpu<const D: usize>(x: &Tensor<D>) -> bool {
    place_of(x) == Some(Place::Gpu)
}
