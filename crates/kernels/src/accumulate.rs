//! The sum of the gradients of a tensor that is used more than once.
//!
//! `Gradients::register` adds a gradient to the one that is there, by an addition that on CPUs runs on one thread
//! and, for it does not know channels-last, leaves images in another order. Gradients of this
//! crate's own results are added here instead. `Gradients` does not say whether it has a gradient of a
//! node, so that is remembered, from the forward pass of a node to its backward pass. To forget a node
//! is safe: then burn adds.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::tensor::FloatTensor;

use crate::images::ImageKernels;

/// Nodes that are remembered at most.
const NODES: usize = 1 << 14;

/// Results of this crate whose backward pass is still to come, and whether they have a gradient yet.
/// Ids are never used twice.
static EXPECTED: LazyLock<Mutex<HashMap<u64, bool>>> = LazyLock::new(Mutex::default);

fn expected() -> MutexGuard<'static, HashMap<u64, bool>> {
    // No panic can leave the map half changed.
    EXPECTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says that the node is a result of this crate, whose backward pass will call [`taken`].
pub(crate) fn expect(node: NodeId) {
    let mut expected = expected();
    // Graphs that are dropped without a backward pass leave their nodes here.
    if expected.len() >= NODES {
        expected.clear();
    }
    expected.insert(node.value, false);
}

/// Says that the backward pass of a node has taken its gradient.
pub(crate) fn taken(node: NodeId) {
    expected().remove(&node.value);
}

/// The gradient that a node of this crate has so far, which it then has no more: for who adds it to the next one in the
/// pass that finds that.
pub(crate) fn so_far<B: ImageKernels>(
    node: NodeId,
    take: impl FnOnce() -> FloatTensor<B>,
) -> Option<FloatTensor<B>> {
    let has_gradient = expected()
        .get_mut(&node.value)
        .is_some_and(|has_gradient| std::mem::replace(has_gradient, false));
    has_gradient.then(take)
}

/// Registers a gradient, or adds it to the one that is there, which `take` takes out.
pub(crate) fn register<B: ImageKernels>(
    grads: &mut Gradients,
    node: NodeId,
    gradient: FloatTensor<B>,
    take: impl FnOnce(&mut Gradients) -> FloatTensor<B>,
) {
    let has_gradient = expected()
        .get_mut(&node.value)
        .is_some_and(|has_gradient| std::mem::replace(has_gradient, true));
    let gradient = if has_gradient {
        B::sum(gradient, take(grads))
    } else {
        gradient
    };
    grads.register::<B>(node, gradient);
}
