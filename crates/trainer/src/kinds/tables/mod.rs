//! Tables: rows of numbers and categories, and lines of text as rows of characters.

mod edit;
mod examples;
mod form;
mod known;
mod noise;
mod sample;
mod shares;
mod show;
mod under_noise;

use std::borrow::Cow;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::Tensor;
use datasets::tables::{Column, Content, load_names, load_published};
use datasets::{DatasetName, Splits, TableOptions, holds_points, load_lines, load_table};
use denoising::X0Clipping;
use image::DynamicImage;
use tracing::warn;

pub use self::edit::{Anew, edit};
pub use self::examples::TableExamples;
use self::form::Drawn;
pub use self::form::TableForm;
pub(super) use self::noise::noise;
pub(super) use self::sample::sample;
pub use self::show::show;
pub(super) use self::under_noise::cells;
pub use self::under_noise::{CellUnderNoise, RowUnderNoise};
use super::data::{DataConfig, Dataset, has_extension};
use super::forward::values as values_of;
use super::outputs::{Fitted, Refused, Sections, Source};
use crate::drawing::captions::{Captions, captioned};
use crate::drawing::histograms;
use crate::drawing::page::page;
use crate::network::NetworkConfig;
use crate::sampling::{Model, Request, every_class};

/// Rows that are drawn when no number is given.
pub(super) const COUNT: usize = 1000;

/// Rows that go through the network at once, at the most.
pub(super) const AT_ONCE: usize = 4096;

/// Lines of a picture.
const LINES: usize = 40;

/// Whether a path is named as lines of text are.
pub(super) fn is_lines(path: &Path) -> bool {
    has_extension(path, &["txt"])
}

/// Whether a path is named as a file of rows or lines.
pub fn is_rows_file(path: &Path) -> bool {
    has_extension(path, &["csv", "tsv", "tab", "txt"])
}

/// Whether a path is named as a table is that can be no points.
pub(super) fn is_tabs(path: &Path) -> bool {
    has_extension(path, &["tsv", "tab"])
}

/// Whether what lies at a path named as a CSV is a table: not numbers alone, which are points, and not a file that
/// cannot be read.
pub(super) fn holds_table(path: &Path) -> bool {
    path.is_file() && !holds_points(path)
}

/// How the table is read.
fn options(data: &DataConfig) -> TableOptions {
    TableOptions {
        types: data.columns.clone(),
        class: data.class_column.clone(),
        ..TableOptions::default()
    }
}

/// What makes no sense for tables.
pub(super) fn check(sections: &Sections<'_>) -> Result<(), Refused> {
    let data = sections.data;
    let is_of_lines = data.is_of_lines();
    let for_others = [
        ("data.flip", data.flip, "there is nothing to mirror"),
        (
            "data.augment.speed",
            data.augment.speed > 0.0,
            "it is how fast sounds are played",
        ),
        (
            "data.columns",
            is_of_lines && !data.columns.is_empty(),
            "lines of text have no columns",
        ),
        (
            "data.class_column",
            is_of_lines && data.class_column.is_some(),
            "lines of text have no columns",
        ),
        (
            "conditioning.class_labels",
            sections.conditioning.class_labels && data.class_column.is_none(),
            "name the column of the classes, data.class_column",
        ),
        (
            "evaluation.every",
            sections.is_scored,
            "scores during training are of images and sounds",
        ),
        (
            "objective.offset_noise",
            sections.objective.offset_noise > 0.0,
            "a number has one value, and all noise is its own",
        ),
        (
            "sampling.clipping",
            sections.clipping != X0Clipping::None,
            "they are not confined to [-1, 1] as images are, so clipping.kind must be \"none\"",
        ),
    ];
    for (key, given, why) in for_others {
        if given {
            return Err((key.to_owned(), format!("the data are a table: {why}")));
        }
    }
    let refused = |message: &str| Err(("network.kind".to_owned(), message.to_owned()));
    match sections.network {
        NetworkConfig::UNet(_) => refused(
            "it is \"unet\", which is for images, and the data are a table: expected \"mlp\"",
        ),
        NetworkConfig::Transformer(_) if !is_of_lines => refused(
            "it is \"transformer\", which is for lines of text, and the data are a table: expected \"mlp\"",
        ),
        NetworkConfig::Transformer(_) | NetworkConfig::Mlp(_) => Ok(()),
    }
}

/// Both splits of a table or of lines. A published data set is looked for as [`datasets::find`] says; a path is taken
/// as it stands.
pub(super) fn load(source: &Source<'_>) -> Result<Splits<TableExamples>> {
    let data = source.data;
    let splits = read(data, source.data_dir, source.seed)?;
    source
        .found
        .check_fingerprint(splits.fingerprint.as_deref(), data)?;
    Ok(splits)
}

fn read(data: &DataConfig, data_dir: Option<&Path>, seed: u64) -> Result<Splits<TableExamples>> {
    let cache_bytes = data.cache_mib.saturating_mul(1 << 20);
    Ok(match (data.dataset, &data.path) {
        (Some(name), _) => {
            let dir = datasets::find(name, data_dir)?;
            if name == DatasetName::Names {
                lines(load_names(&dir)?)
            } else {
                rows(load_published(&dir, &options(data), seed, cache_bytes)?)
            }
        }
        (None, Some(path)) if is_lines(path) => lines(load_lines(path)?),
        (None, Some(path)) => rows(load_table(path, &options(data), seed, cache_bytes)?),
        (None, None) => bail!("the configuration names no data"),
    })
}

fn rows(splits: Splits<datasets::TableRows>) -> Splits<TableExamples> {
    for (name, of) in splits.train.schema().left_out() {
        warn!("{name} is left out: it holds {of}; data.columns can say otherwise");
    }
    Splits {
        train: TableExamples::Rows(splits.train),
        test: TableExamples::Rows(splits.test),
        fingerprint: splits.fingerprint,
    }
}

fn lines(splits: Splits<datasets::LineRows>) -> Splits<TableExamples> {
    let passed_over = splits.train.passed_over();
    if passed_over > 0 {
        warn!(
            "{passed_over} lines are left out: they are longer than {} characters",
            datasets::tables::lines::MAX_LINE_LEN
        );
    }
    Splits {
        train: TableExamples::Lines(splits.train),
        test: TableExamples::Lines(splits.test),
        fingerprint: splits.fingerprint,
    }
}

/// The rows of a network of tables, and what was found in them.
#[derive(Debug)]
pub struct Rows {
    /// Those that are learned.
    pub training: TableExamples,
    /// Those that are not.
    pub held_out: TableExamples,
    /// What was found when the run began.
    pub form: TableForm,
}

/// Both splits, and what was found in them.
pub(super) fn both(source: &Source<'_>) -> Result<Rows> {
    let splits = load(source)?;
    Ok(Rows {
        training: splits.train,
        held_out: splits.test,
        form: form(source)?.clone(),
    })
}

/// What was found in the table that a network learned from.
pub(super) fn form<'a>(source: &Source<'a>) -> Result<&'a TableForm> {
    let form = source.found.table.as_deref();
    form.context("the configuration of the run has no [found.table]: it was changed by hand")
}

/// A network for tables gets a number for each of theirs, and the categories of each column of them.
pub(super) fn fit(fitted: Fitted<'_>, dataset: &Dataset) -> Result<(), Refused> {
    let Fitted {
        network,
        conditioning,
        name,
    } = fitted;
    let refused = |key: &str, message: String| Err((format!("network.{key}"), message));
    let Dataset::Table(examples) = dataset else {
        return refused("kind", "the data are no table".to_owned());
    };
    let form = examples.form();
    let (numbers, categories) = (form.numbers(), form.categories());
    let classes = form.class_names().len();
    let embeds = conditioning
        .class_labels
        .then_some(classes + usize::from(conditioning.null_label));
    let follows = || format!("it follows from the columns of {name}: leave it out");
    let (num_class_embeds, is_new) = match network {
        NetworkConfig::UNet(_) => return refused("kind", "the data are a table".to_owned()),
        NetworkConfig::Mlp(mlp) => {
            if mlp.dimensions.is_some_and(|given| given != numbers) {
                return refused("dimensions", follows());
            }
            if !(mlp.categories.is_empty() || mlp.categories == categories) {
                return refused("categories", follows());
            }
            let is_new = mlp.dimensions.is_none();
            mlp.dimensions = Some(numbers);
            mlp.categories = categories;
            (&mut mlp.num_class_embeds, is_new)
        }
        NetworkConfig::Transformer(transformer) => {
            let [columns, of_each] = [
                categories.len(),
                categories.first().copied().unwrap_or_default(),
            ];
            if transformer.columns.is_some_and(|given| given != columns) {
                return refused("columns", follows());
            }
            if transformer.categories.is_some_and(|given| given != of_each) {
                return refused("categories", follows());
            }
            let is_new = transformer.columns.is_none();
            transformer.columns = Some(columns);
            transformer.categories = Some(of_each);
            (&mut transformer.num_class_embeds, is_new)
        }
    };
    if *num_class_embeds != embeds && !(is_new && num_class_embeds.is_none()) {
        return refused(
            "num_class_embeds",
            "it follows from conditioning.class_labels and the data: leave it out".to_owned(),
        );
    }
    *num_class_embeds = embeds;
    Ok(())
}

/// Rows `[N, C, 1, 1]`, an equal number of each of `num_classes` classes in order, as histograms of all columns beside
/// those of the data, or lines as text, below `title`.
pub(super) fn picture(
    source: &Source<'_>,
    samples: Tensor<4>,
    num_classes: Option<usize>,
    title: &str,
) -> Result<DynamicImage> {
    let classes = every_class(samples.dims()[0], num_classes);
    let samples = values_of(samples)?;
    let form = form(source)?;
    draw(form, &form.decode(&samples, &classes)?, title)
}

/// Rows as text.
#[derive(Debug)]
pub struct ShownRows {
    /// The names of the columns; none of lines of text.
    pub names: Vec<String>,
    /// The cells of each row.
    pub rows: Vec<Vec<String>>,
    /// All of them as a file.
    pub file: Vec<u8>,
    /// Its extension.
    pub extension: &'static str,
}

/// Rows `[N, C, 1, 1]` of these classes as text.
pub(super) fn shown(
    source: &Source<'_>,
    samples: Tensor<4>,
    classes: &[Option<usize>],
) -> Result<ShownRows> {
    let form = form(source)?;
    let drawn = form.decode(&values_of(samples)?, classes)?;
    as_text(form, &drawn)
}

/// Rows in all of which these conditions hold, as text.
pub(super) fn shown_where(
    source: &Source<'_>,
    model: &Model,
    request: &Request,
    conditions: &[String],
    observe: &mut (dyn FnMut() -> Result<()> + Send),
) -> Result<ShownRows> {
    let form = form(source)?;
    let drawn = known::drawn_where(form, model, request, conditions, observe)?;
    as_text(form, &drawn)
}

fn as_text(form: &TableForm, drawn: &Drawn) -> Result<ShownRows> {
    let file = form.write(drawn);
    let extension = form.extension();
    let (names, rows) = match (form, drawn) {
        (TableForm::Rows(schema), Drawn::Rows(cells)) => {
            let columns = 0..schema.columns().len();
            let row = |row: usize| -> Vec<String> {
                let texts = columns
                    .clone()
                    .filter_map(|column| schema.text(cells, column, row));
                texts.map(Cow::into_owned).collect()
            };
            let is_written = |column: &&Column| !matches!(column.content, Content::LeftOut { .. });
            let names = schema.columns().iter().filter(is_written);
            let names = match schema.dialect().header {
                true => names.map(|column| column.name.clone()).collect(),
                false => Vec::new(),
            };
            (names, (0..cells.rows()).map(row).collect())
        }
        (TableForm::Lines(_), Drawn::Lines(lines)) => {
            let rows = lines.iter().map(|line| vec![line.clone()]).collect();
            (Vec::new(), rows)
        }
        _ => bail!("rows of another table"),
    };
    Ok(ShownRows {
        names,
        rows,
        file,
        extension,
    })
}

fn draw(form: &TableForm, drawn: &Drawn, title: &str) -> Result<DynamicImage> {
    match (form, drawn) {
        (TableForm::Rows(schema), Drawn::Rows(cells)) => {
            let picture = histograms::histograms(&shares::histograms(schema, cells))?;
            let title = format!("{title} (blue: the data, orange: drawn)");
            captioned(&picture, &Captions::title(title), 0)
        }
        (_, Drawn::Lines(lines)) => {
            let lines: Vec<&str> = lines.iter().take(LINES).map(String::as_str).collect();
            captioned(&page(&lines)?, &Captions::title(title), 0)
        }
        _ => bail!("rows of another table"),
    }
}
