//! What a start costs on a GPU, kept for the next.

use cubecl::config::cache::CacheConfig;
use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};

/// Keeps the kernels that are compiled for GPUs from here on, and what tuning finds of them, in the user's cache folder,
/// where every program on CubeCL keeps them; what is there already is not compiled or tuned again. In WebGPU's language
/// kernels are compiled by the driver, which may have a cache of its own.
///
/// It is for a program's start: once a GPU was looked for, it does nothing. `CUBECL_ENVIRONMENT` names another of the files
/// there, `CUBECL_AUTOTUNE_CACHE=0` keeps no tuning.
pub fn keep_compiled() {
    let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
    config.compilation.cache = true;
    config.environment.path = CacheConfig::Global;
    let _ = CubeClRuntimeConfig::try_set(config);
}
