//! Winograd's transforms of weights that do not change, kept from call to call.
//!
//! For a few images the transform takes as long as the convolution, and a sampler calls the network
//! hundreds of times with the same weights. A kept transform holds its weights too: while it does,
//! their memory can neither be given to another tensor nor be written in place, so that their address
//! says which weights they are.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::cpu::host::{Host, Numbers};
use crate::cpu::memory::Buffer;
use crate::cpu::winograd::{Direction, transform_weights};

/// Bytes of transforms that are kept at most; beyond, all are dropped.
const KEPT: usize = 256 << 20;

#[derive(Default)]
struct Kept {
    by_address: HashMap<usize, Transform>,
    bytes: usize,
}

struct Transform {
    transformed: Arc<Buffer>,
    lengths: [usize; 2],
    /// The tensor, kept alive.
    _weight: Box<dyn Any + Send>,
}

static TRANSFORMS: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);

/// The forward transform of weights `[out, in, 3, 3]`.
pub(crate) fn kept_transform<B: Host>(weight: &Numbers<B>, lengths: [usize; 2]) -> Arc<Buffer> {
    let address = weight.get().as_ptr() as usize;
    let lock = || TRANSFORMS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kept) = lock().by_address.get(&address)
        && kept.lengths == lengths
    {
        return kept.transformed.clone();
    }
    let transformed = Arc::new(transform_weights(weight.get(), lengths, Direction::Forward));
    let bytes = size_of_val(&transformed[..]);
    let mut kept = lock();
    if kept.bytes + bytes > KEPT {
        *kept = Kept::default();
    }
    kept.bytes += bytes;
    let transform = Transform {
        transformed: transformed.clone(),
        lengths,
        _weight: Box::new(weight.clone()),
    };
    kept.by_address.insert(address, transform);
    transformed
}
