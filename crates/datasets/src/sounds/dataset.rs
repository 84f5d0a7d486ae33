//! Recordings of one channel and one rate, of one loudness each, with classes.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::decode::SoundFileError;
use super::recording::{SoundOptions, read_recording};
use crate::folders::{MAX_CLASSES, read_or_next_of_class};

/// Recordings of mixed lengths, some or all of them with a class. To clone it is cheap.
#[derive(Clone, PartialEq)]
pub struct SoundDataset {
    recordings: Recordings,
    /// Samples of each recording.
    lengths: Arc<[usize]>,
    sample_rate: u32,
    /// The class of each recording, below `class_names.len()`, if it has one.
    labels: Vec<Option<u16>>,
    class_names: Vec<String>,
}

/// Where the recordings are.
#[derive(Clone, PartialEq)]
pub(super) enum Recordings {
    /// In memory.
    Held(Arc<Vec<Vec<f32>>>),
    /// In their files, which are decoded when they are asked for.
    Streamed(Arc<(Vec<PathBuf>, SoundOptions)>),
}

/// Why recordings, labels and class names do not make a data set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SoundPartsError {
    /// There is not one recording.
    #[error("a data set needs at least one recording")]
    NoRecordings,
    /// There are not as many labels as recordings.
    #[error("there are {recordings} recordings and {labels} labels")]
    Labels {
        /// The number of recordings.
        recordings: usize,
        /// The number of labels.
        labels: usize,
    },
    /// A recording has no samples.
    #[error("recording {index} has no samples")]
    Empty {
        /// Which recording, from 0.
        index: usize,
    },
    /// There are more class names than labels can number.
    #[error("a data set has at most {MAX_CLASSES} classes; there are {found} class names")]
    Classes {
        /// The number of class names.
        found: usize,
    },
    /// A label is no class.
    #[error("label {label} of recording {index} is out of range: there are {num_classes} classes")]
    Label {
        /// Which recording, from 0.
        index: usize,
        /// The label found.
        label: u16,
        /// Labels run from 0 to one below this.
        num_classes: usize,
    },
}

impl Recordings {
    pub(super) fn held(recordings: Vec<Vec<f32>>) -> Self {
        Self::Held(Arc::new(recordings))
    }

    pub(super) fn streamed(paths: Vec<PathBuf>, options: SoundOptions) -> Self {
        Self::Streamed(Arc::new((paths, options)))
    }
}

impl SoundDataset {
    /// A data set of what was checked already.
    pub(super) fn new(
        recordings: Recordings,
        lengths: Vec<usize>,
        sample_rate: u32,
        labels: Vec<Option<u16>>,
        class_names: Vec<String>,
    ) -> Self {
        Self {
            recordings,
            lengths: lengths.into(),
            sample_rate,
            labels,
            class_names,
        }
    }

    /// A data set of `recordings`, of one channel and `sample_rate` samples a second each, as they are: nothing is
    /// resampled or normalised.
    ///
    /// ```
    /// let names = vec!["low".to_owned(), "high".to_owned()];
    /// let tones = [0.1_f32, 0.4].map(|step| (0..800).map(|i| (i as f32 * step).sin()).collect());
    /// let sounds =
    ///     datasets::SoundDataset::from_recordings(tones.into(), 8000, vec![Some(0), Some(1)], names)?;
    /// assert_eq!((sounds.len(), sounds.seconds(1)), (2, 0.1));
    /// # Ok::<(), datasets::SoundPartsError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`SoundPartsError`].
    pub fn from_recordings(
        recordings: Vec<Vec<f32>>,
        sample_rate: u32,
        labels: Vec<Option<u16>>,
        class_names: Vec<String>,
    ) -> Result<Self, SoundPartsError> {
        if recordings.is_empty() {
            return Err(SoundPartsError::NoRecordings);
        }
        if recordings.len() != labels.len() {
            return Err(SoundPartsError::Labels {
                recordings: recordings.len(),
                labels: labels.len(),
            });
        }
        if let Some(index) = recordings.iter().position(Vec::is_empty) {
            return Err(SoundPartsError::Empty { index });
        }
        let num_classes = class_names.len();
        if num_classes > MAX_CLASSES {
            return Err(SoundPartsError::Classes { found: num_classes });
        }
        for (index, &label) in labels.iter().enumerate() {
            if let Some(label) = label.filter(|&label| usize::from(label) >= num_classes) {
                return Err(SoundPartsError::Label {
                    index,
                    label,
                    num_classes,
                });
            }
        }
        let lengths = recordings.iter().map(Vec::len).collect();
        let recordings = Recordings::held(recordings);
        Ok(Self::new(
            recordings,
            lengths,
            sample_rate,
            labels,
            class_names,
        ))
    }

    /// The number of recordings, at least one.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there are no recordings: never, for a data set has at least one.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Samples a second.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Whether the recordings stay in their files and are decoded each time they are asked for.
    pub fn is_streamed(&self) -> bool {
        matches!(self.recordings, Recordings::Streamed(_))
    }

    /// The number of classes; 0 where the recordings have none.
    pub fn num_classes(&self) -> usize {
        self.class_names.len()
    }

    /// The names of the classes, by label.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The class of recording `index`, if it has one.
    ///
    /// # Panics
    ///
    /// If there is no such recording.
    pub fn label(&self, index: usize) -> Option<usize> {
        self.labels[index].map(usize::from)
    }

    /// The class of every recording.
    pub fn labels(&self) -> &[Option<u16>] {
        &self.labels
    }

    /// The samples of every recording, as they were when the data set was loaded.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The length of recording `index` in seconds, as it was when the data set was loaded.
    ///
    /// # Panics
    ///
    /// If there is no such recording.
    pub fn seconds(&self, index: usize) -> f64 {
        self.lengths[index] as f64 / f64::from(self.sample_rate)
    }

    /// The samples of recording `index`, in [-1, 1]. Where recordings are streamed, another of its class, of
    /// another length, stands in the place of one that cannot be read any more, if bad files are to be passed over.
    ///
    /// # Errors
    ///
    /// [`SoundFileError`], where recordings are streamed and a file cannot be read any more.
    ///
    /// # Panics
    ///
    /// If there is no such recording.
    pub fn recording(&self, index: usize) -> Result<Cow<'_, [f32]>, SoundFileError> {
        match &self.recordings {
            Recordings::Held(recordings) => Ok(Cow::Borrowed(&recordings[index])),
            Recordings::Streamed(streamed) => {
                let (paths, options) = &**streamed;
                let read = |index: usize| read_recording(&paths[index], options);
                let samples = read_or_next_of_class(index, &self.labels, options.skip_bad, read)?;
                Ok(Cow::Owned(samples))
            }
        }
    }
}

impl fmt::Debug for SoundDataset {
    /// Everything but the samples and labels, which would fill the screen many times over.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoundDataset")
            .field("recordings", &self.len())
            .field("sample_rate", &self.sample_rate)
            .field("class_names", &self.class_names)
            .field("is_streamed", &self.is_streamed())
            .finish_non_exhaustive()
    }
}
