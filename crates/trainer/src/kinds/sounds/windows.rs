//! Recordings of mixed lengths as examples of one length: a window of a long one, a short one with silence
//! around it.

use anyhow::Result;
use datasets::{SoundDataset, SoundFileError};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use training::{Purpose, Streams};

use super::form::{DEVIATION, SoundForm, window};

/// The most recordings that the deviation of spectrograms is measured on.
const MEASURED: usize = 1000;

/// Recordings and the form in which they are learned.
#[derive(Debug, Clone)]
pub struct SoundWindows {
    recordings: SoundDataset,
    form: SoundForm,
    /// By how much, of 1, recordings are played faster or slower in training.
    speed: f64,
}

impl SoundWindows {
    pub(super) fn new(recordings: SoundDataset, form: SoundForm, speed: f64) -> Self {
        Self {
            recordings,
            form,
            speed,
        }
    }

    /// The recordings.
    pub fn recordings(&self) -> &SoundDataset {
        &self.recordings
    }

    /// The form of the examples.
    pub fn form(&self) -> &SoundForm {
        &self.form
    }

    /// The factor by which spectrograms of `recordings`, of a form whose own is 1, get the deviation that a
    /// network expects.
    ///
    /// # Errors
    ///
    /// A recording that cannot be read, where they are read file by file.
    pub(super) fn measure_factor(
        recordings: &SoundDataset,
        form: &SoundForm,
    ) -> Result<f32, SoundFileError> {
        let count = recordings.len().min(MEASURED);
        let (mut sum, mut values) = (0.0, 0);
        for place in 0..count {
            let recording = recordings.recording(place * recordings.len() / count)?;
            let window = window(&recording, form.spectrogram().samples(), 0.5);
            let example = form.encode(&window);
            values += example.len();
            sum += example.iter().map(|v| f64::from(v * v)).sum::<f64>();
        }
        Ok((DEVIATION / (sum / values as f64).sqrt()) as f32)
    }

    /// The spectrograms of the middle of these recordings.
    ///
    /// # Errors
    ///
    /// A recording that cannot be read, where they are read file by file.
    pub fn read(&self, indices: &[usize]) -> Result<Vec<f32>, SoundFileError> {
        let mut values = Vec::new();
        for &index in indices {
            values.extend(self.form.encode(&self.middle(index)?));
        }
        Ok(values)
    }

    /// The middle of a recording.
    ///
    /// # Errors
    ///
    /// As of [`read`](Self::read).
    pub(super) fn middle(&self, index: usize) -> Result<Vec<f32>, SoundFileError> {
        let recording = self.recordings.recording(index)?;
        Ok(window(&recording, self.form.spectrogram().samples(), 0.5))
    }

    /// The spectrograms of these recordings, each at a random place in its window, or a random window of it,
    /// and played faster or slower where that is wanted.
    ///
    /// # Errors
    ///
    /// As of [`read`](Self::read).
    pub fn read_augmented(
        &self,
        indices: &[usize],
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<f32>, SoundFileError> {
        let samples = self.form.spectrogram().samples();
        let mut values = Vec::new();
        for &index in indices {
            let recording = self.recordings.recording(index)?;
            let (place, change) = (rng.random::<f64>(), rng.random_range(-1.0..=1.0));
            let window = |recording: &[f32]| window(recording, samples, place);
            values.extend(self.form.encode(&if self.speed > 0.0 {
                window(&played(&recording, 1.0 + self.speed * change))
            } else {
                window(&recording)
            }));
        }
        Ok(values)
    }

    /// The pictures that these recordings are scored by, as bytes: each at a place of chance in its window, as
    /// the network learns them, but always the same.
    ///
    /// # Errors
    ///
    /// As of [`read`](Self::read).
    pub fn scored(&self, indices: &[usize]) -> Result<Vec<u8>> {
        let mut pixels = Vec::new();
        for &index in indices {
            let recording = self.recordings.recording(index)?;
            let mut rng = Streams::new(0).at(Purpose::Windows, index as u64);
            let samples = self.form.spectrogram().samples();
            pixels.extend(self.form.scored(&window(&recording, samples, rng.random())));
        }
        Ok(pixels)
    }
}

/// A recording played at `speed` times its own, by a cubic through the four samples around each place (Catmull
/// and Rom 1974).
fn played(recording: &[f32], speed: f64) -> Vec<f32> {
    let at = |place: i64| {
        let place = usize::try_from(place).ok();
        place
            .and_then(|place| recording.get(place))
            .copied()
            .unwrap_or(0.0)
    };
    let length = (recording.len() as f64 / speed).round() as usize;
    (0..length)
        .map(|index| {
            let place = index as f64 * speed;
            let (before, u) = (place.floor() as i64, place.fract() as f32);
            let [a, b, c, d] = [-1, 0, 1, 2].map(|step| at(before + step));
            let cubic = 3.0 * (b - c) + d - a;
            let square = 2.0 * a - 5.0 * b + 4.0 * c - d;
            b + 0.5 * u * (c - a + u * (square + u * cubic))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_part_of_a_recording_or_has_silence_around_it() {
        let recording = [1.0, 2.0, 3.0, 4.0];
        for (samples, place, expected) in [
            (2, 0.0, &[1.0, 2.0][..]),
            (2, 0.5, &[2.0, 3.0]),
            (2, 1.0, &[3.0, 4.0]),
            (4, 0.7, &[1.0, 2.0, 3.0, 4.0]),
            (6, 0.0, &[1.0, 2.0, 3.0, 4.0, 0.0, 0.0]),
            (6, 0.5, &[0.0, 1.0, 2.0, 3.0, 4.0, 0.0]),
            (6, 1.0, &[0.0, 0.0, 1.0, 2.0, 3.0, 4.0]),
        ] {
            assert_eq!(window(&recording, samples, place), expected);
        }
    }

    #[test]
    fn what_is_played_faster_is_shorter_and_higher() {
        let tone = |frequency: f64, length: usize| -> Vec<f32> {
            (0..length)
                .map(|n| (frequency * n as f64).sin() as f32)
                .collect()
        };
        assert_eq!(played(&tone(0.2, 500), 1.0), tone(0.2, 500));
        for speed in [0.8, 1.1, 1.25] {
            let played = played(&tone(0.2, 1000), speed);
            let expected = tone(0.2 * speed, (1000.0 / speed).round() as usize);
            assert_eq!(played.len(), expected.len());
            // The ends have silence beside them.
            let inside = 4..played.len() - 4;
            for (a, b) in played[inside.clone()].iter().zip(&expected[inside]) {
                assert!((a - b).abs() < 2e-4, "{speed}: {a} {b}");
            }
        }
    }
}
