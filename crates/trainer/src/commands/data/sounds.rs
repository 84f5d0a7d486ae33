//! `trainer data show` of sounds: lengths, rates, loudness, classes, and a sheet of waveforms and spectrograms.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use datasets::sounds::{SoundFacts, has_sounds, survey};
use datasets::{DatasetName, SoundDataset, SoundOptions, Splits, load_sounds};
use serde_json::json;

use super::classes;
use crate::cli::DataShowArgs;
use crate::drawing::captions::Captions;
use crate::kinds::{DataConfig, SoundConfig, class_name, one_of_each_class_first, show_sounds};
use crate::report;

/// Sounds of a contact sheet when no number is given, and the most columns of it.
const COUNT: usize = 20;
const MAX_COLUMNS: usize = 5;

/// Prints what there is to say of the data set `name`, or of the folder that is named, and writes the sheet.
pub(super) fn show(args: &DataShowArgs, name: Option<DatasetName>, out: &Path) -> Result<()> {
    let dir = match name {
        Some(name) => datasets::find(name, args.data_dir.as_deref())?,
        None => args.what.clone().into(),
    };
    // A published data set may lie there as the archive that it came in, whose files are of one rate.
    let facts = if name.is_none() || has_sounds(&dir) {
        survey(&dir)?
    } else {
        Vec::new()
    };
    let sample_rate = most_common_rate(&facts).unwrap_or(SoundConfig::default().sample_rate);
    let options = SoundOptions {
        skip_bad: args.skip_bad,
        cache_bytes: DataConfig::default().cache_mib << 20,
        ..SoundOptions::of_rate(sample_rate)
    };
    let Splits { train, test, .. } = match name {
        Some(_) => SoundDataset::load_fsdd(&dir, &options)?,
        None => load_sounds(&dir, &options)?,
    };
    report::figures(format!(
        "{}: {} training sounds, {} held out",
        args.what,
        train.len(),
        test.len()
    ));
    let of_split = |split: &SoundDataset| -> Vec<f64> {
        (0..split.len()).map(|index| split.seconds(index)).collect()
    };
    let seconds = [of_split(&train), of_split(&test)].concat();
    let seconds = Spread::of(seconds.into_iter());
    let peak = Spread::of(facts.iter().map(|facts| decibels(facts.peak)));
    let rms = Spread::of(facts.iter().map(|facts| decibels(facts.rms)));
    report::figures(format!("seconds: {}", seconds.described(3)));
    let rates = counted(facts.iter().map(|facts| facts.sample_rate));
    let channels = counted(facts.iter().map(|facts| facts.channels));
    if !facts.is_empty() {
        report::figures(format!(
            "loudest sample: {} dB of full scale",
            peak.described(1)
        ));
        report::figures(format!("root mean square: {} dB", rms.described(1)));
        report::figures(format!("samples a second: {}", listed(&rates)));
        report::figures(format!("channels: {}", listed(&channels)));
    }
    let counts = classes::count(train.class_names(), train.labels(), test.labels());
    classes::print(&counts);
    report::json(&json!({
        "data": args.what,
        "training_sounds": train.len(),
        "held_out_sounds": test.len(),
        "seconds": seconds.json(),
        "peak_db": peak.json(),
        "rms_db": rms.json(),
        "sample_rates": rates,
        "channels": channels,
        "classes": counts,
    }))?;

    let count = args.count.unwrap_or(COUNT).min(train.len());
    let indices = one_of_each_class_first(train.labels(), count);
    let columns = match train.num_classes() {
        classes @ 2..=MAX_COLUMNS => classes,
        _ => indices.len().isqrt().clamp(1, MAX_COLUMNS),
    };
    let names = if columns == train.num_classes() {
        let classes = 0..columns;
        classes
            .map(|class| class_name(class, train.class_names()))
            .collect()
    } else {
        Vec::new()
    };
    let title = format!(
        "{}: {} of {} training sounds, each as loud as the others; 0 to {} Hz",
        args.what,
        indices.len(),
        train.len(),
        sample_rate / 2
    );
    let captions = Captions::title(title).columns(names);
    show_sounds(&train, &indices, columns, &captions, out)
}

/// The rate that most files have, where there are any.
fn most_common_rate(facts: &[SoundFacts]) -> Option<u32> {
    let rates = counted(facts.iter().map(|facts| facts.sample_rate));
    let most = rates.into_iter().max_by_key(|&(_, count)| count);
    most.map(|(rate, _)| rate)
}

fn counted<T: Ord>(values: impl Iterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts
}

fn listed<T: std::fmt::Display>(counts: &BTreeMap<T, usize>) -> String {
    let each = counts
        .iter()
        .map(|(value, count)| format!("{value} ({count} files)"));
    each.collect::<Vec<_>>().join(", ")
}

fn decibels(level: f32) -> f64 {
    20.0 * f64::from(level.max(f32::MIN_POSITIVE)).log10()
}

/// How values are spread: the least, 5 %, half and 95 % of them, and the greatest.
struct Spread([f64; 5]);

impl Spread {
    /// Of values of which there is at least one.
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().saturating_sub(1) as f64;
        Self([0.0, 0.05, 0.5, 0.95, 1.0].map(|share| {
            let place = (share * last).round() as usize;
            values.get(place).copied().unwrap_or(f64::NAN)
        }))
    }

    fn described(&self, digits: usize) -> String {
        let [least, few, half, most, greatest] = self.0.map(|value| format!("{value:.digits$}"));
        format!("{least} to {greatest}, half of them below {half}, 90 % from {few} to {most}")
    }

    fn json(&self) -> serde_json::Value {
        let [least, few, half, most, greatest] = self.0;
        json!({"min": least, "p5": few, "median": half, "p95": most, "max": greatest})
    }
}
