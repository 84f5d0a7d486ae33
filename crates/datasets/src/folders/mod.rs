//! Folders of files as data sets, of images as of sounds.
//!
//! ```text
//! DIR/cat/1.png                 class "cat"
//! DIR/dog/deep/er/2.jpg         class "dog": the first folder counts
//! DIR/3.webp                    no class
//! ```
//!
//! - What lies in `DIR/train/` is to learn from and what lies in `DIR/test/` is held out, if both are
//!   there. Otherwise one file in ten is held out by a hash of its path below `DIR`, or below `DIR/train/`
//!   where nothing lies beside it.
//! - Files are known by the ends of their names, in any case; hidden files and folders are passed over. Their
//!   order is that of their paths.
//! - Classes may also be named by a `metadata.csv` or `metadata.jsonl` in `DIR` or in the folder of each split
//!   ([`metadata`]); folders are then no classes.
//! - Symbolic links are passed over, so that nothing outside `DIR` is read and nothing is read twice;
//!   `DIR` itself may be one.

mod error;
mod kind;
mod listing;
pub mod metadata;
mod reading;

pub(crate) use error::first_messages;
pub use error::{FolderError, MAX_CLASSES};
pub use kind::FileKind;
pub(crate) use listing::{Found, SplitFiles, has_files, list};
pub use metadata::{LabelError, MetadataError};
pub(crate) use reading::{in_parallel, read_or_next_of_class};
