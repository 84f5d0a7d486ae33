//! The files of `configs/`, which are in the program.

macro_rules! embedded {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("../../../../configs/", $name, ".toml")))),*]
    };
}

/// The configurations of the program by name, and their text.
pub const EMBEDDED: [(&str, &str); 12] = embedded!(
    "mnist" "fashion-mnist" "cifar10-small" "cifar10" "emoji" "points" "speech" "adult" "diamonds"
    "penguins" "names" "smoke"
);
