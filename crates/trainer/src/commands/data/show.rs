//! `trainer data show`: counts, sizes, mean and deviation of a data set, and a contact sheet of images or a
//! picture of points or of the columns of a table.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use datasets::sounds::has_sounds;
use datasets::{
    Channels, CloudName, DatasetName, FolderOptions, ImageDataset, Points, Split, Splits,
    folder_image_sizes, has_images, load_array, load_folder, load_points,
};
use serde_json::json;

use super::{classes, sounds};
use crate::cli::DataShowArgs;
use crate::destination::check_file;
use crate::device;
use crate::drawing::captions::{Captions, captioned};
use crate::drawing::scatter::{LARGE, axis_limit, panel};
use crate::drawing::{grid, pictures};
use crate::error::Usage;
use crate::kinds::{DataConfig, class_name, is_array, is_csv, one_of_each_class_first, show_table};
use crate::report;
use training::{Purpose, Streams};

/// Images whose pixels are summed at a time.
const IMAGES_AT_ONCE: usize = 1024;

/// Images of a contact sheet when no number is given.
const COUNT: usize = 100;

/// The most images of a contact sheet, and the most classes that have a column of it each.
const MAX_COUNT: usize = 10_000;
const MAX_CLASS_COLUMNS: usize = 25;

/// The most values of all images of a contact sheet, each channel of a pixel being one.
const MAX_SHEET_VALUES: usize = 1 << 27;

/// The most columns of a table.
const MAX_COLUMNS: usize = 20;

/// The largest side of the images of a folder.
const MAX_SIZE: usize = 2048;

pub(super) fn run(args: &DataShowArgs) -> Result<()> {
    for (option, value, most) in [
        ("--count", args.count.unwrap_or(1), MAX_COUNT),
        ("--size", args.size, MAX_SIZE),
    ] {
        if !(1..=most).contains(&value) {
            bail!(Usage(format!("{option} must be 1 to {most}, not {value}")));
        }
    }
    let path = Path::new(&args.what);
    let out = match &args.out {
        Some(out) => out.clone(),
        None => default_out(path),
    };
    check_file("--out", &out)?;
    if let Ok(cloud) = args.what.parse::<CloudName>() {
        return show_points(
            args,
            &cloud.draw(&mut Streams::new(0).at(Purpose::Cloud, 0)),
            &out,
        );
    }
    let name = args.what.parse::<DatasetName>().ok();
    let mut data = DataConfig {
        dataset: name,
        path: Some(path.to_owned()).filter(|_| name.is_none()),
        ..DataConfig::default()
    };
    data.look();
    if data.is_table() {
        return show_table(&data, args.data_dir.as_deref(), &out);
    }
    if is_csv(path) && path.exists() {
        return show_points(args, &load_points(path)?, &out);
    }
    let is_folder_of_sounds = path.is_dir() && !has_images(path) && has_sounds(path);
    if name.is_some_and(DatasetName::is_sound) || (name.is_none() && is_folder_of_sounds) {
        return sounds::show(args, name, &out);
    }
    let count = args.count.unwrap_or(COUNT);
    let splits = load(args)?;
    let Splits { train, test, .. } = &splits;
    report::figures(format!(
        "{}: {} training images, {} held out; {} × {} pixels, {}",
        args.what,
        train.len(),
        test.len(),
        train.width(),
        train.height(),
        match Channels::of(train.channels()) {
            Some(Channels::Grey) => "grey",
            Some(Channels::Rgb) => "RGB",
            _ => "RGBA",
        }
    ));
    if args.what.parse::<DatasetName>().is_err() && !is_array(path) {
        report::figures(format!(
            "sizes of the files: {}",
            sizes(&folder_image_sizes(path)?)
        ));
    }
    let classes = classes::count(train.class_names(), train.labels(), test.labels());
    classes::print(&classes);
    let (mean, deviation) = mean_and_deviation(train)?;
    report::json(&json!({
        "data": args.what,
        "training_images": train.len(),
        "held_out_images": test.len(),
        "width": train.width(),
        "height": train.height(),
        "channels": train.channels(),
        "classes": classes,
        "mean": mean,
        "deviation": deviation,
    }))?;
    report::figures(format!(
        "mean {}, deviation {} of the training images, black being 0 and white 1",
        numbers(&mean),
        numbers(&deviation)
    ));

    let indices = if train.num_classes() > 0 {
        one_of_each_class_first(train.labels(), count)
    } else {
        // Neighbours in a folder are often alike: from all over it.
        let count = count.min(train.len());
        (0..count)
            .map(|place| place * train.len() / count)
            .collect()
    };
    let values = indices.len() * train.channels() * train.height() * train.width();
    if values > MAX_SHEET_VALUES {
        bail!(Usage(format!(
            "--count {}: a contact sheet of so many images of {} × {} pixels is too large; take fewer, or \
             for a folder a smaller --size",
            count,
            train.width(),
            train.height()
        )));
    }
    let columns = match train.num_classes() {
        classes @ 2..=MAX_CLASS_COLUMNS => classes,
        _ => indices.len().isqrt(),
    };
    let images = train.batch(&indices, &device::select(None)?.device)?;
    let names = match train.num_classes() {
        classes if classes == columns => (0..classes)
            .map(|class| class_name(class, train.class_names()))
            .collect(),
        _ => Vec::new(),
    };
    let title = format!(
        "{}: {} of {} training images",
        args.what,
        indices.len(),
        train.len()
    );
    let picture = captioned(
        &grid::grid(&pictures::from_tensor(images)?, columns)?,
        &Captions::title(title).columns(names),
        0,
    )?;
    pictures::save(&picture, &out)?;
    report::wrote(&out);
    Ok(())
}

/// Counts, means and the scale of points, and a picture of them.
fn show_points(args: &DataShowArgs, splits: &Splits<Points>, out: &Path) -> Result<()> {
    let Splits { train, test, .. } = splits;
    report::figures(format!(
        "{}: {} training points, {} held out; {} coordinates",
        args.what,
        train.len(),
        test.len(),
        train.dimensions()
    ));
    let normalisation = train.normalisation();
    let shown = normalisation.columns.len().min(MAX_COLUMNS);
    let more = if shown < normalisation.columns.len() {
        ", …"
    } else {
        ""
    };
    report::json(&json!({
        "data": args.what,
        "training_points": train.len(),
        "held_out_points": test.len(),
        "columns": normalisation.columns,
        "mean": normalisation.offset,
        "largest_deviation": normalisation.scale,
    }))?;
    report::figures(format!(
        "mean {} ({}{more}), largest deviation {:.4}",
        numbers(&normalisation.offset[..shown]),
        normalisation.columns[..shown].join(", "),
        normalisation.scale
    ));
    let all = train.read(&Vec::from_iter(0..train.len()));
    let picture = panel(&all, train.dimensions(), axis_limit(&all), LARGE)?;
    let title = format!("{}: {} points", args.what, train.len());
    let picture = captioned(&picture, &Captions::title(title), 0)?;
    pictures::save(&picture, out)?;
    report::wrote(out);
    Ok(())
}

fn load(args: &DataShowArgs) -> Result<Splits<ImageDataset>> {
    if let Ok(name) = args.what.parse::<DatasetName>() {
        let dir = datasets::find(name, args.data_dir.as_deref())?;
        return Ok(Splits {
            train: ImageDataset::load(name, Split::Train, &dir)?,
            test: ImageDataset::load(name, Split::Test, &dir)?,
            fingerprint: None,
        });
    }
    let path = Path::new(&args.what);
    if !path.exists() {
        bail!(Usage(format!(
            "{} is neither a data set ({}), nor a cloud ({}), nor a path: expected a folder of images, a \
             .npy or .npz file, a .csv of points or of a table, or a .txt of lines",
            args.what,
            DatasetName::ALL.map(DatasetName::as_str).join(", "),
            CloudName::ALL.map(CloudName::as_str).join(", ")
        )));
    }
    let cache_bytes = DataConfig::default().cache_mib << 20;
    if is_array(path) {
        return Ok(load_array(path, cache_bytes)?);
    }
    let background = args.background[..].try_into();
    let options = FolderOptions {
        channels: if args.grey {
            Channels::Grey
        } else {
            Channels::Rgb
        },
        size: [args.size; 2],
        background: background.map_err(|_| {
            Usage("--background: expected three numbers, as in 255,255,255".to_owned())
        })?,
        skip_bad: args.skip_bad,
        cache_bytes,
    };
    Ok(load_folder(path, &options)?)
}

/// `runs/data/NAME.png`, by the last part of the path.
fn default_out(path: &Path) -> PathBuf {
    // The folder "." has a name of its own, too.
    let resolved = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = resolved.file_name().unwrap_or("data".as_ref());
    let mut name = name.to_os_string();
    name.push(".png");
    Path::new("runs/data").join(name)
}

/// How large the files of a folder are.
fn sizes(sizes: &[(u32, u32)]) -> String {
    let widths = sizes.iter().map(|&(width, _)| width);
    let heights = sizes.iter().map(|&(_, height)| height);
    let range = |least: Option<u32>, most: Option<u32>| match (least, most) {
        (Some(least), Some(most)) if least == most => least.to_string(),
        (Some(least), Some(most)) => format!("{least} to {most}"),
        _ => "unknown".to_owned(),
    };
    format!(
        "{} wide, {} high",
        range(widths.clone().min(), widths.max()),
        range(heights.clone().min(), heights.max())
    )
}

/// Mean and standard deviation of each channel, in [0, 1].
fn mean_and_deviation(dataset: &ImageDataset) -> Result<(Vec<f64>, Vec<f64>)> {
    let channels = dataset.channels();
    let plane = dataset.height() * dataset.width();
    let mut histograms = vec![[0_u64; 256]; channels];
    let indices: Vec<usize> = (0..dataset.len()).collect();
    for indices in indices.chunks(IMAGES_AT_ONCE) {
        let pixels = dataset.read(indices).context("cannot read all images")?;
        for (place, plane) in pixels.chunks_exact(plane).enumerate() {
            let histogram = &mut histograms[place % channels];
            for &byte in plane {
                histogram[usize::from(byte)] += 1;
            }
        }
    }
    let moment = |histogram: &[u64; 256], power: i32| {
        let count: u64 = histogram.iter().sum();
        let sum: f64 = (0_u8..=255)
            .zip(histogram)
            .map(|(byte, &count)| (f64::from(byte) / 255.0).powi(power) * count as f64)
            .sum();
        sum / count as f64
    };
    let mean: Vec<f64> = histograms.iter().map(|h| moment(h, 1)).collect();
    let deviation = histograms
        .iter()
        .zip(&mean)
        .map(|(histogram, mean)| (moment(histogram, 2) - mean * mean).max(0.0).sqrt())
        .collect();
    Ok((mean, deviation))
}

fn numbers(values: &[f64]) -> String {
    let values: Vec<String> = values.iter().map(|value| format!("{value:.4}")).collect();
    values.join(" ")
}
