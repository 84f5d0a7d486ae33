//! The data sets that are known by name: their files, checksums and classes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A dataset that the program knows by name, in kebab case everywhere: `mnist`, `fashion-mnist`,
/// `cifar10`, `fsdd`, `adult`, `names`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DatasetName {
    /// Handwritten digits, 28 × 28, grey (LeCun, Cortes, Burges).
    Mnist,
    /// Articles of clothing, 28 × 28, grey (Xiao, Rasul, Vollgraf 2017).
    FashionMnist,
    /// Photographs of ten kinds of thing, 32 × 32, RGB (Krizhevsky 2009).
    Cifar10,
    /// The Free Spoken Digit Dataset: digits in English by six speakers, 8 kHz (Jackson and others).
    Fsdd,
    /// Adults of the census of the United States of 1994: a table (Becker, Kohavi 1996), its rows without gaps.
    Adult,
    /// First names, a line each (Karpathy's makemore, 2022).
    Names,
}

/// A part of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// The images to learn from.
    Train,
    /// The images held out.
    Test,
}

/// A name that is no dataset or no split.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no {kind} is called \"{found}\"; choose one of {known}")]
pub struct UnknownName {
    kind: &'static str,
    found: String,
    known: String,
}

/// One file of a dataset.
#[derive(Debug)]
pub(crate) struct DatasetFile {
    /// Its name when unpacked. Packed with gzip it has `.gz` after that.
    pub(crate) name: &'static str,
    /// The SHA-256 of the unpacked bytes.
    pub(crate) sha256: &'static str,
}

/// The archive that CIFAR-10 is published as; it is read as it is, without unpacking it to the disk.
pub(crate) const CIFAR10_ARCHIVE: &str = "cifar-10-binary.tar.gz";

/// The archive that the Free Spoken Digit Dataset is published as; it is read as it is.
pub(crate) const FSDD_ARCHIVE: &str = "free-spoken-digit-dataset-1.0.10.tar.gz";

/// The table of Adult under the name that it is published as, and under its usual one.
pub(crate) const ADULT_FILES: [DatasetFile; 2] = [
    file("adult.data", ADULT_SHA256),
    file("adult.csv", ADULT_SHA256),
];
const ADULT_SHA256: &str = "23959c20762e10ad3cf7af811ea355b81fff9f69debbed9a5505657f3145d8cf";

/// The list of names.
pub(crate) const NAMES_FILE: DatasetFile = file(
    "names.txt",
    "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d",
);

/// One of the recordings of the Free Spoken Digit Dataset, whose checksums lie beside its reader.
const FSDD_EXAMPLE: &str = "0_george_0.wav";

const fn file(name: &'static str, sha256: &'static str) -> DatasetFile {
    DatasetFile { name, sha256 }
}

// Images, then labels.
const MNIST_TRAIN: [DatasetFile; 2] = [
    file(
        "train-images-idx3-ubyte",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    file(
        "train-labels-idx1-ubyte",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
];
const MNIST_TEST: [DatasetFile; 2] = [
    file(
        "t10k-images-idx3-ubyte",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    file(
        "t10k-labels-idx1-ubyte",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
];
const FASHION_MNIST_TRAIN: [DatasetFile; 2] = [
    file(
        "train-images-idx3-ubyte",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    file(
        "train-labels-idx1-ubyte",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
];
const FASHION_MNIST_TEST: [DatasetFile; 2] = [
    file(
        "t10k-images-idx3-ubyte",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    file(
        "t10k-labels-idx1-ubyte",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
];
const CIFAR10_TRAIN: [DatasetFile; 5] = [
    file(
        "data_batch_1.bin",
        "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    ),
    file(
        "data_batch_2.bin",
        "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    ),
    file(
        "data_batch_3.bin",
        "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    ),
    file(
        "data_batch_4.bin",
        "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    ),
    file(
        "data_batch_5.bin",
        "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    ),
];
const CIFAR10_TEST: [DatasetFile; 1] = [file(
    "test_batch.bin",
    "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
)];

const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
const FASHION: [&str; 10] = [
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
];
const CIFAR10: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

impl DatasetName {
    /// Every dataset with a name.
    pub const ALL: [Self; 6] = [
        Self::Mnist,
        Self::FashionMnist,
        Self::Cifar10,
        Self::Fsdd,
        Self::Adult,
        Self::Names,
    ];

    /// The name in kebab case, which is also the name of its folder.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
            Self::Cifar10 => "cifar10",
            Self::Fsdd => "fsdd",
            Self::Adult => "adult",
            Self::Names => "names",
        }
    }

    /// Whether it is a data set of sounds.
    pub fn is_sound(self) -> bool {
        self == Self::Fsdd
    }

    /// Whether it is a table, or lines of text.
    pub fn is_table(self) -> bool {
        matches!(self, Self::Adult | Self::Names)
    }

    /// The names of the classes, by label; none of a table.
    pub fn class_names(self) -> &'static [&'static str] {
        match self {
            Self::Mnist | Self::Fsdd => &DIGITS,
            Self::FashionMnist => &FASHION,
            Self::Cifar10 => &CIFAR10,
            Self::Adult | Self::Names => &[],
        }
    }

    /// The names of the files that the dataset is published as, below each of [`mirrors`](Self::mirrors).
    pub fn downloads(self) -> Vec<String> {
        match self {
            Self::Cifar10 => vec![CIFAR10_ARCHIVE.to_owned()],
            Self::Fsdd => vec![FSDD_ARCHIVE.to_owned()],
            Self::Adult => vec![ADULT_FILES[0].name.to_owned()],
            Self::Names => vec![NAMES_FILE.name.to_owned()],
            Self::Mnist | Self::FashionMnist => [Split::Train, Split::Test]
                .into_iter()
                .flat_map(|split| self.files(split))
                .map(|file| format!("{}.gz", file.name))
                .collect(),
        }
    }

    /// Public addresses (without the slash at the end) that hold the dataset's files, the best first.
    pub fn mirrors(self) -> &'static [&'static str] {
        match self {
            Self::Mnist => &[
                "https://ossci-datasets.s3.amazonaws.com/mnist",
                "https://storage.googleapis.com/cvdf-datasets/mnist",
            ],
            Self::FashionMnist => &[
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            ],
            Self::Cifar10 => &[
                "https://www.cs.toronto.edu/~kriz",
                "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10",
            ],
            Self::Fsdd => {
                &["https://github.com/Jakobovski/free-spoken-digit-dataset/archive/v1.0.10"]
            }
            Self::Adult => &["https://raw.githubusercontent.com/pjreddie/Logistic-SGD/master"],
            Self::Names => &["https://raw.githubusercontent.com/karpathy/makemore/master"],
        }
    }

    /// The files of a split: images and labels, or the batches in order. None where a checksum is of many
    /// files.
    pub(crate) fn files(self, split: Split) -> &'static [DatasetFile] {
        match (self, split) {
            (Self::Mnist, Split::Train) => &MNIST_TRAIN,
            (Self::Mnist, Split::Test) => &MNIST_TEST,
            (Self::FashionMnist, Split::Train) => &FASHION_MNIST_TRAIN,
            (Self::FashionMnist, Split::Test) => &FASHION_MNIST_TEST,
            (Self::Cifar10, Split::Train) => &CIFAR10_TRAIN,
            (Self::Cifar10, Split::Test) => &CIFAR10_TEST,
            (Self::Fsdd | Self::Adult | Self::Names, _) => &[],
        }
    }

    /// The name of one of the files.
    pub(super) fn example_file(self) -> &'static str {
        match self {
            Self::Fsdd => FSDD_EXAMPLE,
            Self::Adult => ADULT_FILES[0].name,
            Self::Names => NAMES_FILE.name,
            Self::Mnist | Self::FashionMnist | Self::Cifar10 => self.files(Split::Train)[0].name,
        }
    }

    /// Whether `dir` holds at least one of the dataset's files.
    pub(super) fn has_files_in(self, dir: &Path) -> bool {
        let has_file = |name: &str| dir.join(name).is_file();
        match self {
            Self::Cifar10 if has_file(CIFAR10_ARCHIVE) => true,
            Self::Fsdd => {
                let inner = format!("recordings/{FSDD_EXAMPLE}");
                [FSDD_ARCHIVE, FSDD_EXAMPLE, &inner]
                    .into_iter()
                    .any(has_file)
            }
            Self::Adult => ADULT_FILES.iter().any(|file| has_file(file.name)),
            Self::Names => has_file(NAMES_FILE.name),
            Self::Mnist | Self::FashionMnist | Self::Cifar10 => [Split::Train, Split::Test]
                .into_iter()
                .flat_map(|split| self.files(split))
                .any(|file| file.locate(dir).is_some()),
        }
    }
}

impl Split {
    /// `train` or `test`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

impl DatasetFile {
    /// The file in `dir`, plain or packed.
    pub(crate) fn locate(&self, dir: &Path) -> Option<PathBuf> {
        [dir.join(self.name), dir.join(format!("{}.gz", self.name))]
            .into_iter()
            .find(|path| path.exists())
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for DatasetName {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let found = Self::ALL.into_iter().find(|name| name.as_str() == text);
        found.ok_or_else(|| UnknownName {
            kind: "dataset",
            found: text.to_owned(),
            known: Self::ALL.map(Self::as_str).join(", "),
        })
    }
}

impl FromStr for Split {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let both = [Self::Train, Self::Test];
        let found = both.into_iter().find(|split| split.as_str() == text);
        found.ok_or_else(|| UnknownName {
            kind: "split",
            found: text.to_owned(),
            known: both.map(Self::as_str).join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_survive_text_and_serde() {
        for name in DatasetName::ALL {
            assert_eq!(name.to_string().parse::<DatasetName>().unwrap(), name);
            let quoted = format!("\"{name}\"");
            assert_eq!(serde_json::to_string(&name).unwrap(), quoted);
            assert_eq!(serde_json::from_str::<DatasetName>(&quoted).unwrap(), name);
        }
        assert_eq!(
            "MNIST".parse::<DatasetName>().unwrap_err().to_string(),
            "no dataset is called \"MNIST\"; choose one of mnist, fashion-mnist, cifar10, fsdd, \
             adult, names"
        );
        assert_eq!("test".parse::<Split>().unwrap(), Split::Test);
        assert!("valid".parse::<Split>().is_err());
    }
}
