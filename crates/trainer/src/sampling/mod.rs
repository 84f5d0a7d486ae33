//! Sampling: the network, a sampler of [`denoising`], guidance and the random streams put together. It knows
//! no run and no kind of data.

mod classes;
mod config;
mod description;
mod editing;
mod model;
mod recipe;
mod request;
pub mod tensor_file;

pub use self::classes::{Classes, parse_classes};
pub use self::config::SamplingConfig;
pub use self::description::describe;
pub use self::editing::{FRAMES, check_strength, frames_between};
pub use self::model::Model;
pub use self::recipe::Recipe;
pub use self::request::{Edit, Request, every_class};
