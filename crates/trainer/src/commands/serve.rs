//! `trainer serve`: a page in the browser of whoever sits at this machine, to watch runs, start and stop them,
//! draw from them and see how they work.
//!
//! The server answers on threads of its own. Whatever calls a network is done on the thread that began this
//! command, one thing after the other (see `desk.rs`); trainings are processes of their own (see `trainings.rs`),
//! so nothing that is done on the page can harm them.

mod desk;
mod draw;
mod explain;
mod form;
mod processes;
mod routes;
mod runs;
mod scoring;
mod trainings;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use serde_json::json;
use serving::Server;

use self::desk::Desk;
use self::routes::Page;
use self::runs::Runs;
use self::scoring::Scorings;
use self::trainings::Trainings;
use crate::cli::ServeArgs;
use crate::commands::assets::ASSETS;
use crate::device;
use crate::report;

/// The port where none is asked for and this one is free.
const PORT: u16 = 8321;

/// Opens the page and serves it until the program is ended.
pub fn run(args: &ServeArgs) -> Result<()> {
    let device = device::select(args.device.device.as_deref())?;
    let runs = Arc::new(Runs::of(&args.folder)?);
    let server = bind(args)?;
    let link = server.link();
    report::tell(format!(
        "the page is at {link}\nCtrl-C ends it, and trainings that were started from it, which save first"
    ));
    report::json(&json!({ "link": link, "threads": rayon::current_num_threads() }))?;
    let trainings = Trainings::new(
        &args.folder,
        args.data_dir.clone(),
        args.device.device.clone(),
    );
    let scorings = Scorings::new(args.data_dir.clone(), args.device.device.clone());
    let (desk, jobs) = Desk::new(device, args.data_dir.clone());
    let page = Page {
        runs,
        trainings: Arc::new(trainings),
        scorings: Arc::new(scorings),
        jobs,
    };
    thread::Builder::new()
        .name("server".to_owned())
        .spawn(move || server.run(page))
        .context("cannot start the thread of the server")?;
    desk.work();
    Ok(())
}

fn bind(args: &ServeArgs) -> Result<Server> {
    let at = |port| Server::bind(SocketAddr::new(args.listen, port), ASSETS);
    let (port, bound) = match args.port {
        Some(port) => (port, at(port)),
        None => (PORT, at(PORT).or_else(|_| at(0))),
    };
    bound.with_context(|| {
        format!(
            "cannot listen at {} on port {port}; --port 0 takes one that is free",
            args.listen
        )
    })
}
