//! Draws from a network while the page looks on: each denoising step is sent as it comes.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel,
};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use burn::tensor::{Device, Tensor};
use denoising::SamplerKind;
use image::{DynamicImage, GenericImage as _};
use serde::Deserialize;
use serde_json::{Value, json};
use serving::{Events, Gone};
use training::{Condition, Network as _};

use super::desk::{Desk, Jobs, Open, Which};
use super::runs::config_in;
use crate::cli::SamplerArgs;
use crate::commands::opened::{Samplers, at_least, refuse_idle_guidance, settings};
use crate::device;
use crate::drawing::pictures::png;
use crate::error::Usage;
use crate::kinds::{Glimpse, Kept, Kind, Shown, Source};
use crate::memory::check;
use crate::sampling::{Edit, FRAMES, Model, Recipe, Request, frames_between};

/// The steps that may wait to be sent; to a page that is slower some are not shown.
const WAITING: usize = 8;

/// The highest place among the samples of a seed.
const MOST_PLACES: usize = 1_000_000_000;

/// What a page asks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// The classes in turn; none are all of them.
    #[serde(default)]
    classes: Vec<Option<usize>>,
    count: Option<usize>,
    #[serde(default)]
    seed: u64,
    /// The place of the first among all of the seed.
    #[serde(default)]
    first: usize,
    #[serde(default)]
    checkpoint: Which,
    sampler: Option<String>,
    steps: Option<usize>,
    eta: Option<f64>,
    guidance: Option<f64>,
    guidance_interval: Option<[f64; 2]>,
    #[serde(default)]
    from: Beginning,
}

/// What a drawing begins with.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Beginning {
    /// Noise.
    #[default]
    Noise,
    /// A picture that is noised a part of the way.
    Picture(Over),
    /// A recording that is.
    Recording(OverRecording),
    /// The noises between that of the seed and that of another.
    Seeds(Between),
    /// Noise, for rows in which these conditions hold, as `sample --where` has them.
    Conditions(Vec<String>),
}

/// What is drawn over.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Over {
    /// A picture file, in base64.
    picture: String,
    /// How far along the chain it is noised.
    strength: Option<f64>,
    /// A byte a pixel in base64, row by row: 255 where it is drawn anew, 0 where it stays.
    mask: Option<String>,
    resamplings: Option<usize>,
}

/// The recording that is drawn over.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverRecording {
    /// A sound file, in base64.
    recording: String,
    strength: Option<f64>,
    /// From where to where it is drawn anew; none is everywhere.
    seconds: Option<[f64; 2]>,
    resamplings: Option<usize>,
}

/// Where the way from the noise of the seed ends.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Between {
    last: u64,
}

impl Over {
    fn edit(&self, kind: Kind, source: &Source<'_>, device: &Device) -> Result<Edit> {
        let picture = decoded(&self.picture, "the picture")?;
        let image = kind.decode(source, picture, "the picture", device)?;
        let keep = match &self.mask {
            Some(mask) => Some(kind.decode_mask(source, &decoded(mask, "the mask")?, device)?),
            None => None,
        };
        Ok(Edit::of_image(
            image,
            keep,
            self.strength,
            self.resamplings,
        )?)
    }
}

impl OverRecording {
    /// The edit, and what stays of the recording as it is.
    fn edit(
        &self,
        kind: Kind,
        source: &Source<'_>,
        device: &Device,
    ) -> Result<(Edit, Option<Kept>)> {
        let bytes = decoded(&self.recording, "the recording")?;
        let (x, kept) = kind.decode_sound(source, bytes, self.seconds, device)?;
        let (keep, kept) = kept.unzip();
        let edit = Edit::of_image(x, keep, self.strength, self.resamplings)?;
        Ok((edit, kept))
    }
}

impl Between {
    /// As many noises as `request` has samples, from that of its seed to that of the last.
    fn noises(self, kind: Kind, model: &Model, request: &Request) -> Result<Tensor<4>> {
        kind.must_be_one_of(Kind::of_files(), "the run draws")?;
        let count = request.classes.len();
        at_least(&[("the number of frames", count, 2)])?;
        if request
            .classes
            .iter()
            .any(|&class| class != request.classes[0])
        {
            bail!(Usage(
                "an interpolation has one class: choose one, or none".to_owned()
            ));
        }
        if !request.sampling.is_deterministic() {
            bail!(Usage(format!(
                "{} adds fresh noise in its steps, which would differ from frame to frame: choose a sampler that adds \
                 none, as ddim with η = 0",
                request.sampling.sampler
            )));
        }
        let [first, last] = [request.seed, self.last].map(|seed| model.initial_noise(seed, 1));
        Ok(frames_between(&first, &last, count))
    }
}

/// A step of a drawing, or what it came to: the name of the event and its data.
type Told = (&'static str, String);

/// Where a drawing is told of.
struct Teller {
    steps: SyncSender<Told>,
    end: SyncSender<Told>,
}

/// The page is gone: nothing more is to be drawn.
#[derive(Debug, thiserror::Error)]
#[error("nobody looks any more")]
struct NobodyLooks;

/// Draws, and sends what comes.
pub(super) fn draw(
    jobs: &Jobs,
    run: PathBuf,
    asked: Asked,
    events: &mut Events<'_>,
) -> Result<(), Gone> {
    let (steps, steps_told) = sync_channel(WAITING);
    let (end, end_told) = sync_channel(1);
    let teller = Teller { steps, end };
    let handed_in = jobs.hand_in(move |desk| {
        let drawn = draw_at(desk, &run, &asked, &teller);
        let told = match drawn {
            Ok(drawn) => ("done", drawn.to_string()),
            Err(error) => ("failed", format!("{error:#}")),
        };
        // There is room for one, and nobody waits.
        let _ = teller.end.try_send(told);
    });
    if handed_in.is_err() {
        return events.send("failed", "others are being served: try again in a moment");
    }
    tell(&steps_told, &end_told, events)
}

/// Sends what is told until the end.
fn tell(steps: &Receiver<Told>, end: &Receiver<Told>, events: &mut Events<'_>) -> Result<(), Gone> {
    loop {
        match steps.recv_timeout(Duration::from_millis(250)) {
            Ok((name, data)) => events.send(name, &data)?,
            // Whether the page is still there, which may be waiting for its turn.
            Err(RecvTimeoutError::Timeout) => events.wait(Duration::from_millis(1))?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    match end.try_recv() {
        Ok((name, data)) => events.send(name, &data),
        Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
            events.send("failed", "the drawing ended early")
        }
    }
}

impl Teller {
    /// Tells of a step, unless there is no room for it.
    fn step(&self, name: &'static str, data: &Value) -> Result<()> {
        match self.steps.try_send((name, data.to_string())) {
            Ok(()) | Err(TrySendError::Full(_)) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(NobodyLooks.into()),
        }
    }
}

fn draw_at(desk: &mut Desk, run: &Path, asked: &Asked, teller: &Teller) -> Result<Value> {
    let device_name = desk.device_name().to_owned();
    let Open {
        checkpoint,
        model,
        needs,
        ..
    } = desk.open(run, asked.checkpoint)?;
    let config = checkpoint.config();
    let kind = config.data.kind();
    let arguments = asked.arguments()?;
    let sampling = settings(config, &arguments, Samplers::Chosen)?;
    let (usual, most) = kind.shown_count();
    let usual = match asked.from {
        Beginning::Seeds(_) => FRAMES,
        _ => usual,
    };
    let count = asked.count.unwrap_or(usual);
    at_least(&[("the number of samples", count, 1)])?;
    if asked.first > MOST_PLACES {
        bail!(Usage(format!("a place is at most {MOST_PLACES}")));
    }
    if count > most {
        bail!(Usage(format!(
            "{count} samples are too many for a page, which shows {most}; `trainer sample` draws any number"
        )));
    }
    let source = config.source(None);
    let classes = match (&asked.from, &asked.classes[..]) {
        // What it begins with says enough.
        (Beginning::Picture(_) | Beginning::Recording(_) | Beginning::Seeds(_), []) => {
            vec![None; count]
        }
        (_, chosen) => kind.classes_in_turn(&source, model, chosen, count)?,
    };
    if let Some(known) = model.num_classes()
        && let Some(class) = classes.iter().flatten().find(|&&class| class >= known)
    {
        bail!(Usage(format!("there is no class {class}")));
    }
    refuse_idle_guidance(&arguments, &classes)?;
    check(count, needs.called_example).map_err(|error| Usage(error.to_string()))?;
    let mut request = Request {
        first: asked.first,
        ..Request::new(classes, sampling, asked.seed, count)
    };
    let mut kept = None;
    match &asked.from {
        Beginning::Noise | Beginning::Conditions(_) => {}
        Beginning::Recording(over) => {
            let (edit, stays) = over.edit(kind, &source, &model.device)?;
            (request.edit, kept) = (Some(edit), stays);
        }
        Beginning::Picture(over) => request.edit = Some(over.edit(kind, &source, &model.device)?),
        Beginning::Seeds(between) => {
            request.initial_noise = Some(between.noises(kind, model, &request)?);
        }
    }
    let timesteps = model.timesteps(&request)?;
    let step = checkpoint.counters().step;
    teller.step(
        "begun",
        &json!({
            "count": count,
            "classes": request.classes.iter().take(most).collect::<Vec<_>>(),
            "timesteps": timesteps,
            "step": step,
            "device": device_name,
            "sampling": request.sampling,
        }),
    )?;
    if let Beginning::Conditions(conditions) = &asked.from {
        // Rows are drawn until there are enough: the last step of a round is followed by the first of the next.
        let mut index = 0;
        let mut observe = || {
            let place = index % timesteps.len().max(1);
            index += 1;
            let told = json!({ "index": place, "timestep": timesteps.get(place) });
            teller.step("step", &told)
        };
        let shown = kind.shown_where(&source, model, &request, conditions, &mut observe)?;
        return finished(shown, |_| None);
    }
    let samples = model.sample(&request, |_, state| {
        let on_the_way = kind.on_the_way(
            &source,
            state.x.clone(),
            &state.predicted_x_0,
            &request.classes,
        )?;
        let mut told = json!({ "index": state.index, "timestep": state.timestep });
        match on_the_way {
            Glimpse::Pictures(pictures) => told["sheet"] = sheet(&pictures)?,
            Glimpse::Rows(rows) => told["rows"] = json!(rows),
        }
        teller.step("step", &told)
    })?;
    let name = run.file_name().unwrap_or(run.as_os_str());
    let recipe = |place: usize| Recipe {
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        run: name.to_string_lossy().into_owned(),
        step,
        weights: checkpoint.weights_digest().to_owned(),
        seed: request.seed,
        place: asked.first + place,
        class: request.classes[place],
        sampling: request.sampling.clone(),
    };
    let shown = kind.shown(&source, samples, &request.classes, kept.as_ref())?;
    // Of what begins with more than noise these settings are not all.
    let is_all = matches!(asked.from, Beginning::Noise);
    finished(shown, |place| is_all.then(|| recipe(place)))
}

impl Asked {
    /// The same as the command line has it, for its checks and messages.
    fn arguments(&self) -> Result<SamplerArgs> {
        let sampler = self.sampler.as_deref().map(|name| {
            let known = name.parse::<SamplerKind>();
            known.map_err(|error| Usage(anyhow!(error).to_string()))
        });
        let interval = self.guidance_interval;
        Ok(SamplerArgs {
            sampler: sampler.transpose()?,
            steps: self.steps,
            spacing: None,
            eta: self.eta,
            guidance: self.guidance,
            set: interval
                .map(|[first, last]| format!("sampling.guidance_interval=[{first:?}, {last:?}]"))
                .into_iter()
                .collect(),
        })
    }
}

/// What the page gets in the end.
fn finished(shown: Shown, recipe: impl Fn(usize) -> Option<Recipe>) -> Result<Value> {
    let picture = |place: usize, picture: &DynamicImage| -> Result<String> {
        let Some(recipe) = recipe(place) else {
            return encoded(picture);
        };
        let text = recipe.to_text()?;
        Ok(STANDARD.encode(png(picture, &[(Recipe::KEYWORD, &text)])?))
    };
    Ok(match shown {
        Shown::Pictures(pictures) => {
            let pictures: Result<Vec<String>> = pictures
                .iter()
                .enumerate()
                .map(|(place, drawn)| picture(place, drawn))
                .collect();
            json!({ "pictures": pictures? })
        }
        Shown::Cloud(cloud) => json!({ "pictures": [encoded(&cloud)?] }),
        Shown::Sounds(sounds) => {
            let (pictures, files): (Vec<_>, Vec<_>) = sounds.into_iter().unzip();
            let pictures: Result<Vec<String>> = pictures.iter().map(encoded).collect();
            let files: Vec<String> = files.iter().map(in_base64).collect();
            json!({ "pictures": pictures?, "sounds": files })
        }
        Shown::Rows(rows) => json!({
            "names": rows.names,
            "rows": rows.rows,
            "file": STANDARD.encode(rows.file),
            "extension": rows.extension,
        }),
    })
}

/// A picture as text.
pub(super) fn encoded(picture: &DynamicImage) -> Result<String> {
    Ok(STANDARD.encode(png(picture, &[])?))
}

/// Bytes as text.
pub(super) fn in_base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// The bytes that `text` stands for, in base64; messages call them `what`.
pub(super) fn decoded(text: &str, what: &str) -> Result<Vec<u8>> {
    let bytes = STANDARD.decode(text);
    Ok(bytes.map_err(|_| Usage(format!("{what} is not in base64")))?)
}

/// Pictures of one size in one, side by side in rows that are as long as there are rows.
fn sheet(pictures: &[DynamicImage]) -> Result<Value> {
    let Some(first) = pictures.first() else {
        bail!("there is nothing to show");
    };
    let (width, height) = (first.width(), first.height());
    let count = u32::try_from(pictures.len())?;
    let columns = (1..=count)
        .find(|columns| columns * columns >= count)
        .unwrap_or(1);
    let rows = count.div_ceil(columns);
    let mut all = DynamicImage::new(columns * width, rows * height, first.color());
    for (index, picture) in (0..).zip(pictures) {
        all.copy_from(
            picture,
            (index % columns) * width,
            (index / columns) * height,
        )?;
    }
    Ok(json!({ "png": encoded(&all)?, "columns": columns, "width": width, "height": height }))
}

/// A picture file as the network of `run` sees it, cropped to its shape, in its size and its colours; or the middle of a
/// recording, as long as its samples are.
///
/// # Errors
///
/// What is neither, and runs that draw none.
pub(super) fn seen(run: &Path, bytes: Vec<u8>) -> Result<Value> {
    let config = config_in(run)?;
    let kind = config.data.kind();
    let seen = kind.seen(&config.source(None), bytes, &device::nearest()?)?;
    let (picture, sound) = match seen {
        Shown::Pictures(pictures) => (pictures.into_iter().next(), None),
        Shown::Sounds(sounds) => sounds.into_iter().next().unzip(),
        Shown::Cloud(_) | Shown::Rows(_) => (None, None),
    };
    let picture = picture.context("there is nothing to show")?;
    Ok(json!({
        "png": encoded(&picture)?,
        "width": picture.width(),
        "height": picture.height(),
        "sound": sound.map(in_base64),
    }))
}

/// Opens a network and calls it for as many samples as are usual, so that the first drawing from it begins at once:
/// it has brought its weights into the form that it computes with, and has its memory.
pub(super) fn warm(desk: &mut Desk, run: &Path) -> Result<()> {
    let open = desk.open(run, Which::Newest)?;
    let (usual, _) = open.checkpoint.config().data.kind().shown_count();
    let model = &open.model;
    // Guidance calls it for twice as many.
    let (count, condition) = match model.num_classes() {
        Some(classes) => {
            let count = 2 * usual;
            (count, Condition::classes(vec![Some(0); count], classes))
        }
        None => (usual, Condition::none()),
    };
    let noise = model.initial_noise(0, count);
    let predicted = model.network.forward(noise, &vec![0.0; count], &condition);
    predicted.try_into_data()?;
    Ok(())
}
