//! `trainer worker`: serves devices of this machine to trainings on others.

mod gate;

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail};
use burn::server::{
    AuthorizationRequest, PeerAuthorizer as _, RemoteServer, TokenAuthorizer, WebSocketTransport,
};
use serde_json::json;
use tracing::{info, warn};

use self::gate::{Gate, Peers, inner_listener};
use crate::cli::WorkerArgs;
use crate::device::{self, Backend};
use crate::error::Usage;
use crate::remote::{self, BURN, Identity, TOKEN_FILE};
use crate::report;
use crate::token_file::read_or_make_token;

/// Serves until the program is ended.
pub fn run(args: &WorkerArgs) -> Result<()> {
    check_listen(args)?;
    let Some(file) = remote::token_file() else {
        bail!(Usage(format!(
            "a worker needs a token: --token-file FILE, or the environment variable {TOKEN_FILE}, names the file that \
             holds it; where the file is missing it is made"
        )));
    };
    let token = read_or_make_token(file)?;
    let devices = device::select_all(&args.devices.devices)?;
    if let Some(far) = devices
        .iter()
        .find(|device| device.backend == Backend::Remote)
    {
        bail!(Usage(format!(
            "--device {}: a worker serves devices of its own machine",
            far.name
        )));
    }
    let listener = TcpListener::bind(args.listen).with_context(|| {
        format!(
            "cannot listen at {}: choose another port with --listen",
            args.listen
        )
    })?;
    let address = listener.local_addr().context("cannot listen")?;
    let server = inner_listener().context("cannot listen on 127.0.0.1")?;

    let peers = Peers::default();
    let gate = Gate {
        listener,
        server: server.local_addr().context("cannot listen on 127.0.0.1")?,
        identity: identity()?,
        peers: Arc::clone(&peers),
    };
    thread::Builder::new()
        .name("gate".to_owned())
        .spawn(move || gate.run())
        .context("cannot start a thread to listen")?;

    report::figures(format!(
        "serving {} at ws://{address}",
        device::names(&devices)
    ));
    let names: Vec<&str> = devices.iter().map(|device| &device.name[..]).collect();
    report::json(&json!({ "listen": address.to_string(), "devices": names }))?;
    report::tell(format!(
        "use it with: --device remote:ws://{address}#0 --token-file {}",
        file.display()
    ));

    let authorizer = TokenAuthorizer::new(token.secret())?;
    let served = device::handles(&devices);
    let first = served.first().context("no device to serve")?.clone();
    kernels::with_kernels(RemoteServer::new(served), &first)
        .with_authorizer(move |request: AuthorizationRequest<'_>| {
            let peer = peer_of(&peers, &request);
            let index = request.device_index;
            match authorizer.authorize(request) {
                Ok(()) => {
                    info!("{peer} opens a session on device #{index}");
                    Ok(())
                }
                Err(_) => {
                    warn!("refused {peer}: it has a wrong token");
                    Err(format!("{peer} has a wrong token"))
                }
            }
        })
        .serve(WebSocketTransport::from_listener(server))
        .context("cannot serve")
}

/// Who asks, as the gate knows it.
fn peer_of(peers: &Peers, request: &AuthorizationRequest<'_>) -> String {
    let client = request.client.to_string();
    let port = client.rsplit(':').next().and_then(|port| port.parse().ok());
    let peers = peers.lock().unwrap_or_else(PoisonError::into_inner);
    let peer: Option<&SocketAddr> = port.and_then(|port: u16| peers.get(&port));
    peer.map_or(client, SocketAddr::to_string)
}

/// Refuses to be reached by other machines, unless that is asked for.
fn check_listen(args: &WorkerArgs) -> Result<(), Usage> {
    if args.listen.ip().is_loopback() {
        return Ok(());
    }
    if !args.insecure_network {
        return Err(Usage(format!(
            "--listen {}: other machines could reach it, and nothing is encrypted. Listen on 127.0.0.1 and let the \
             other machine come through an SSH tunnel (docs/scale.md), or say --insecure-network on a network where \
             nobody else reads",
            args.listen
        )));
    }
    warn!(
        "{} is open to other machines, unencrypted: whoever reads the network has the token, the data and the weights",
        args.listen
    );
    Ok(())
}

/// Who this worker is: another one after each start.
fn identity() -> Result<Identity> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).context("the system gives no random numbers")?;
    Ok(Identity {
        worker: format!("{:016x}", u64::from_be_bytes(bytes)),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        burn: BURN.to_owned(),
        operations: kernels::WORKER_OPERATIONS,
    })
}
