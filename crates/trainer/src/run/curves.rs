//! The curves of a run: its loss, and its FID.

use std::path::Path;

use anyhow::Result;

use super::metrics::{Record, Smoothed};
use crate::drawing::pictures;
use crate::drawing::plots::{Curve, Labels, Scale, draw};

/// Draws the training loss, smoothed, and the held-out loss of a run over its steps, as PNG.
pub fn loss_curve(records: &[Record], path: &Path) -> Result<()> {
    let mut smoothed = Smoothed::default();
    let training = records
        .iter()
        .filter_map(|record| Some((record.step as f64, smoothed.push(record.loss?))))
        .collect();
    let held_out = records
        .iter()
        .filter_map(|record| Some((record.step as f64, record.held_out_loss?)))
        .collect();
    let curves = [
        Curve {
            name: "training (smoothed)".to_owned(),
            points: training,
            marked: false,
        },
        Curve {
            name: "test split, averaged weights".to_owned(),
            points: held_out,
            marked: true,
        },
    ];
    let labels = Labels {
        title: "Loss",
        x: "step",
        y: "mean squared error",
    };
    let picture = draw(&labels, &curves, Scale::Logarithmic)?;
    pictures::save_png(&picture, path)
}

/// Draws the FID of a run over the minutes that it has trained for, as PNG.
pub fn fid_curve(records: &[Record], path: &Path) -> Result<()> {
    let points = records
        .iter()
        .filter_map(|record| Some((record.seconds / 60.0, record.fid?)))
        .collect();
    let curve = Curve {
        name: "drawn by the averaged weights".to_owned(),
        points,
        marked: true,
    };
    let labels = Labels {
        title: "FID on the features of the classifier",
        x: "minutes of training",
        y: "FID",
    };
    pictures::save_png(&draw(&labels, &[curve], Scale::Logarithmic)?, path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn record(step: u64, loss: f64) -> Record {
        Record {
            step,
            loss: Some(loss),
            held_out_loss: Some(loss * 1.1),
            ..Record::default()
        }
    }

    #[test]
    fn runs_of_any_length_have_a_curve() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("loss.png");
        for records in [
            vec![],
            vec![record(1, 0.5)],
            vec![record(1, f64::NAN)],
            vec![record(1, 0.5), record(2, 0.25)],
        ] {
            loss_curve(&records, &path).unwrap();
            let picture = image::open(&path).unwrap();
            assert_eq!((picture.width(), picture.height()), (800, 500));
        }
    }
}
