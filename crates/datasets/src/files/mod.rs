//! Files: opened as regular files and read within limits, hashed, found on this machine; and the catalogue
//! of the data sets that are known by name.

pub(crate) mod catalogue;
mod find;
mod hash;
mod read;

pub use catalogue::{DatasetName, Split, UnknownName};
pub use find::{NotFound, find};
pub(crate) use hash::{Sha256Writer, sha256};
pub use read::read_file;
pub(crate) use read::{Interrupted, open, open_unpacked, read_at_most, read_whole};
