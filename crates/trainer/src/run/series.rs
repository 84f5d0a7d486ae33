//! The metrics of a run as series of bounded length, however long it ran: for curves on a screen.

use serde::Serialize;

use super::metrics::Record;

/// Lines of training, a column each; and the means of several where there are more lines than places.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Training {
    /// Steps taken.
    pub step: Vec<u64>,
    /// Time spent on the run, in seconds.
    pub seconds: Vec<f64>,
    /// Mean loss.
    pub loss: Vec<Option<f64>>,
    /// Learning rate.
    pub learning_rate: Vec<Option<f64>>,
    /// Norm of the gradient.
    pub grad_norm: Vec<Option<f64>>,
    /// Training examples a second.
    pub images_per_second: Vec<Option<f64>>,
}

/// Lines of the test split and of scores, a column each; of several the last.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Measured {
    /// Steps taken.
    pub step: Vec<u64>,
    /// Time spent on the run, in seconds.
    pub seconds: Vec<f64>,
    /// Loss of the averaged weights on the test split.
    pub held_out_loss: Vec<Option<f64>>,
    /// The same by range of timesteps, from the least noise to the most.
    pub held_out_loss_by_timestep: Vec<Option<Vec<f64>>>,
    /// FID of images drawn in training.
    pub fid: Vec<Option<f64>>,
    /// The chance that such an image is nearer to a training image than a held-out one is.
    pub nearer_than_real: Vec<Option<f64>>,
}

/// Both.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Series {
    /// Of training.
    pub training: Training,
    /// Of what is measured.
    pub measured: Measured,
}

impl Series {
    /// The series of `records` from step `from` to step `to`, of `most` places each at the most.
    pub fn of(records: &[Record], from: u64, to: u64, most: usize) -> Self {
        let within = |record: &&Record| (from..=to).contains(&record.step);
        let (training, measured): (Vec<&Record>, Vec<&Record>) = records
            .iter()
            .filter(within)
            .partition(|record| record.loss.is_some());
        let mut series = Self::default();
        for part in parts(&training, most) {
            let Some(last) = part.last() else { continue };
            let columns = &mut series.training;
            columns.step.push(last.step);
            columns.seconds.push(last.seconds);
            columns.loss.push(mean(part, |r| r.loss));
            columns.learning_rate.push(mean(part, |r| r.learning_rate));
            columns.grad_norm.push(mean(part, |r| r.grad_norm));
            columns
                .images_per_second
                .push(mean(part, |r| r.images_per_second));
        }
        for part in parts(&measured, most) {
            let Some(last) = part.last() else { continue };
            let columns = &mut series.measured;
            columns.step.push(last.step);
            columns.seconds.push(last.seconds);
            columns.held_out_loss.push(last.held_out_loss);
            columns
                .held_out_loss_by_timestep
                .push(last.held_out_loss_by_timestep.clone());
            columns.fid.push(last.fid);
            columns.nearer_than_real.push(last.nearer_than_real);
        }
        series
    }
}

/// Records in order in at most `most` parts, all of one size but the last.
fn parts<'a, 'b>(records: &'a [&'b Record], most: usize) -> impl Iterator<Item = &'a [&'b Record]> {
    let size = records.len().div_ceil(most.max(1)).max(1);
    records.chunks(size)
}

fn mean(part: &[&Record], value: impl Fn(&Record) -> Option<f64>) -> Option<f64> {
    let values: Vec<f64> = part.iter().filter_map(|record| value(record)).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_has_as_many_places_as_a_screen() {
        let training = |step: u64| Record {
            step,
            loss: Some(step as f64),
            ..Record::default()
        };
        let measured = |step: u64| Record {
            step,
            held_out_loss: Some(0.5),
            ..Record::default()
        };
        let mut records: Vec<Record> = (1..=1000).map(training).collect();
        records.extend((1..=5).map(|k| measured(200 * k)));
        let all = Series::of(&records, 0, u64::MAX, 100);
        assert_eq!(all.training.step.len(), 100);
        assert_eq!(all.training.step[0], 10);
        assert_eq!(all.training.loss[0], Some(5.5));
        assert_eq!(all.measured.step, [200, 400, 600, 800, 1000]);
        let part = Series::of(&records, 101, 150, 100);
        assert_eq!(part.training.loss.len(), 50);
        assert_eq!(part.training.loss[0], Some(101.0));
        assert_eq!(Series::of(&[], 0, 1, 0), Series::default());
    }
}
