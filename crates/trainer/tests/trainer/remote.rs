//! Devices of other machines, by workers on this one: a run learns the same there, whatever happens to a worker ends
//! the training in time, and nothing of a run is lost by it.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    Ended, checkpoint, command, config, copy_folder, fail, run, succeed, tensors, train,
};

/// The longest that a training may go on, or a worker may take to start, before a test fails.
const LONGEST: Duration = Duration::from_secs(120);

/// A worker with two devices, which ends with this value.
struct Worker {
    child: Child,
    address: SocketAddr,
    stdout: BufReader<ChildStdout>,
}

impl Worker {
    fn start(folder: &Path) -> Self {
        Self::start_at(folder, "127.0.0.1:0")
    }

    fn start_at(folder: &Path, listen: &str) -> Self {
        let args = [
            "worker",
            "--listen",
            listen,
            "--token-file",
            "token",
            "--device",
            "flex,flex",
            "--json",
        ];
        let log = fs::File::create(folder.join("worker.log")).unwrap();
        let mut child = command(folder, &args)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let address = said["listen"].as_str().unwrap().parse().unwrap();
        Self {
            child,
            address,
            stdout,
        }
    }

    fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    fn device(&self, index: usize) -> String {
        format!("remote:{}#{index}", self.url())
    }

    fn both(&self) -> String {
        format!("{},{}", self.device(0), self.device(1))
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it and returns what it said, without the first line.
    fn end(mut self, folder: &Path) -> String {
        self.kill();
        let mut said = String::new();
        self.stdout.read_to_string(&mut said).unwrap();
        said + &fs::read_to_string(folder.join("worker.log")).unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two batches a step, a checkpoint each.
const SETTINGS: &[&str] = &[
    "--set",
    "training.gradient_accumulation=2",
    "--set",
    "training.batch_size=4",
    "--set",
    "checkpoint.every=1",
    "--set",
    "checkpoint.keep=100",
    "--set",
    "log.every=1",
    "--set",
    "held_out.examples=10",
    "--set",
    "sampling.every=1000000",
    "--token-file",
    "token",
];

/// A training that goes on for as long as it is let, on `device`.
fn start_training(folder: &Path, out: &str, device: &str, more: &[&str]) -> Child {
    let smoke = config("smoke.toml");
    let args = [
        "train", "--config", &smoke, "--out", out, "--device", device,
    ];
    command(folder, &[&args[..], SETTINGS, more].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until the checkpoint of this step is there.
#[track_caller]
fn wait_for(folder: &Path, out: &str, step: u64) {
    let begin = Instant::now();
    while !checkpoint(&folder.join(out), step).exists() {
        assert!(begin.elapsed() < LONGEST, "step {step} does not come");
        sleep(Duration::from_millis(5));
    }
}

/// Waits until the program has ended by itself, which it must within this time.
#[track_caller]
fn ended(mut child: Child, within: Duration) -> Ended {
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > within {
            child.kill().unwrap();
            panic!(
                "it hangs: {:#?}",
                Ended::from(child.wait_with_output().unwrap())
            );
        }
        sleep(Duration::from_millis(10));
    }
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert!(!ended.stderr.contains("panicked"), "{ended:#?}");
    ended
}

/// The newest checkpoint of a run.
fn newest(run: &Path) -> u64 {
    let steps = fs::read_dir(run.join("checkpoints")).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let step = name
            .strip_prefix("step-")
            .and_then(|step| step.parse().ok());
        step.unwrap_or(0)
    });
    steps.max().unwrap()
}

#[test]
fn a_run_learns_the_same_on_the_devices_of_a_worker() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let worker = Worker::start(path);
    let steps = ["--steps", "4"];
    for (out, device) in [
        ("one", &worker.device(0)[..]),
        ("two", &worker.both()),
        ("mixed", &format!("flex,{}", worker.device(1))),
        ("near", "flex"),
    ] {
        train(
            path,
            out,
            &[SETTINGS, &steps, &["--device", device]].concat(),
        );
    }
    let at = |out: &str| checkpoint(&path.join(out), 4);
    // The worker has the kernels of this machine's processor, so they learn the same to the last bit.
    for out in ["two", "mixed", "near"] {
        assert!(tensors(&at("one")) == tensors(&at(out)), "{out}");
    }

    // So it is with what is drawn.
    let draw = |devices: &str| {
        let args = [
            "sample",
            "one",
            "--count",
            "7",
            "--batch-size",
            "3",
            "--steps",
            "4",
            "--out",
            "grid.png",
            "--device",
            devices,
            "--token-file",
            "token",
        ];
        succeed(path, &args);
        fs::read(path.join("grid.png")).unwrap()
    };
    let near = draw("flex");
    assert!(draw(&worker.device(1)) == near);
    assert!(draw(&worker.both()) == near);

    // And with what is drawn over.
    let edit = |device: &str| {
        let args = [
            "edit",
            "one",
            "--from",
            "grid.png",
            "--strength",
            "0.5",
            "--out",
            "edited.png",
            "--device",
            device,
            "--token-file",
            "token",
        ];
        succeed(path, &args);
        fs::read(path.join("edited.png")).unwrap()
    };
    assert!(edit("flex") == edit(&worker.device(0)));
    let said = worker.end(path);
    assert!(said.contains("opens a session on device #1"), "{said}");
    assert!(said.contains("came from it"), "{said}");
    let token = fs::read_to_string(path.join("token")).unwrap();
    assert!(!said.contains(token.trim()), "{said}");
}

/// Hands connections on to a worker, and counts what comes from it in sessions, but not what it says of itself.
struct Counter {
    address: SocketAddr,
    came: Arc<AtomicU64>,
}

impl Counter {
    fn before(worker: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let came = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&came);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (mut client, mut server) =
                    (client.unwrap(), TcpStream::connect(worker).unwrap());
                let count = Arc::clone(&count);
                thread::spawn(move || {
                    let mut buffer = vec![0; 1 << 16];
                    let length = client.read(&mut buffer).unwrap();
                    let is_session = !buffer.starts_with(b"GET /identity");
                    server.write_all(&buffer[..length]).unwrap();
                    let (mut up, mut down) =
                        (client.try_clone().unwrap(), server.try_clone().unwrap());
                    thread::spawn(move || {
                        let _ = io::copy(&mut up, &mut server);
                        let _ = server.shutdown(Shutdown::Write);
                    });
                    while let Ok(length @ 1..) = down.read(&mut buffer) {
                        if is_session {
                            count.fetch_add(length as u64, Ordering::SeqCst);
                        }
                        if client.write_all(&buffer[..length]).is_err() {
                            break;
                        }
                    }
                    let _ = client.shutdown(Shutdown::Write);
                });
            }
        });
        Self { address, came }
    }
}

/// A device is told what to do, and asked for nothing until a line of metrics is due: how many bytes come from a worker does
/// not depend on the number of steps. What reads nothing from a worker reads nothing from a GPU.
#[test]
fn a_step_reads_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let worker = Worker::start(path);
    let bytes = |steps: &str, log: &str| {
        let counter = Counter::before(worker.address);
        let device = format!("remote:ws://{}#0", counter.address);
        let out = format!("steps-{steps}-{log}");
        let settings = [
            "--steps",
            steps,
            "--set",
            log,
            "--set",
            "training.batch_size=4",
            "--set",
            "checkpoint.every=1000",
            "--set",
            "held_out.examples=10",
            "--set",
            "sampling.every=1000000",
            "--token-file",
            "token",
            "--device",
            &device,
        ];
        train(path, &out, &settings);
        counter.came.load(Ordering::SeqCst)
    };
    let few = bytes("3", "log.every=1000");
    assert!(few > 0);
    assert_eq!(bytes("9", "log.every=1000"), few);
    assert!(bytes("9", "log.every=1") > few);
}

#[test]
fn tensors_may_be_longer_than_16_mib() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let worker = Worker::start(path);
    let args = [
        "train",
        "points",
        "--out",
        "wide",
        "--steps",
        "2",
        "--set",
        "network.width=900",
        "--set",
        "training.gradient_accumulation=2",
        "--set",
        "training.batch_size=8",
        "--set",
        "held_out.examples=10",
        "--set",
        "sampling.count=5",
        "--token-file",
        "token",
        "--device",
        &worker.both(),
    ];
    succeed(path, &args);
    let weights = checkpoint(&path.join("wide"), 2).join("model.safetensors");
    assert!(fs::metadata(weights).unwrap().len() > 17 << 20);
}

#[test]
fn devices_of_a_worker_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let worker = Worker::start(folder.path());
    let listed = succeed(
        folder.path(),
        &[
            "devices",
            "--remote",
            &worker.url(),
            "--token-file",
            "token",
        ],
    );
    for index in 0..2 {
        assert!(
            listed
                .stdout
                .contains(&format!("{} (f32", worker.device(index))),
            "{listed:#?}"
        );
    }
    // Without one, those of this machine, and how to ask for others.
    let here = succeed(folder.path(), &["devices"]);
    assert!(here.stdout.contains("devices --remote ws://"), "{here:#?}");
}

#[test]
fn workers_that_cannot_be_used_are_said_to_be_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    train(path, "run", &["--steps", "1"]);
    let worker = Worker::start(path);
    let private = |name: &str, text: &str| {
        fs::copy(path.join("token"), path.join(name)).unwrap();
        fs::write(path.join(name), text).unwrap();
    };
    private("wrong", "this-is-another-token");
    private("short", "short");
    let sample = |device: &str, token: &[&str], code: i32, parts: &[&str]| {
        let args = [
            "sample", "run", "--count", "1", "--steps", "1", "--device", device,
        ];
        fail(path, &[&args[..], token].concat(), code, parts);
    };
    let (right, first) = (["--token-file", "token"], worker.device(0));
    sample(
        &first,
        &[],
        2,
        &["wants a token", "--token-file", "DIFFUSION_TOKEN_FILE"],
    );
    sample(
        &first,
        &["--token-file", "wrong"],
        1,
        &["refuses the token in wrong", &worker.url()],
    );
    sample(
        &first,
        &["--token-file", "short"],
        2,
        &["16 to 1024", "short"],
    );
    sample(
        &first,
        &["--token-file", "none"],
        2,
        &["cannot read the token in none"],
    );
    sample(
        &worker.device(2),
        &right,
        2,
        &["no device #2", "serves 2", "devices --remote"],
    );
    sample(
        "remote:ws://127.0.0.1:1#0",
        &right,
        1,
        &["ws://127.0.0.1:1", "cannot be reached", "trainer worker"],
    );
    sample(
        "remote:wss://127.0.0.1:1",
        &right,
        2,
        &["remote:ws://HOST:PORT#INDEX"],
    );
    sample("remote:3", &right, 2, &["remote:ws://HOST:PORT#INDEX"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::copy(path.join("token"), path.join("open")).unwrap();
        fs::set_permissions(path.join("open"), fs::Permissions::from_mode(0o644)).unwrap();
        sample(&first, &["--token-file", "open"], 2, &["chmod 600", "open"]);
    }

    // Somebody else, one who never answers, and a worker of another version.
    let answers = |answer: Option<&'static str>| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let mut all = Vec::new();
            for mut stream in listener.incoming().flatten() {
                if let Some(answer) = answer {
                    let _ = stream.read(&mut [0; 4096]);
                    let _ = write!(
                        stream,
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}",
                        answer.len()
                    );
                }
                all.push(stream);
            }
        });
        format!("remote:ws://{address}#0")
    };
    let patience = ["--token-file", "token", "--worker-timeout", "2"];
    sample(
        &answers(Some("hello")),
        &patience,
        1,
        &["no worker of this program"],
    );
    sample(
        &answers(None),
        &patience,
        1,
        &["has not answered for 2 s", "--worker-timeout"],
    );
    let old = r#"{"worker":"1","version":"0.0.1","burn":"0.1.0"}"#;
    sample(
        &answers(Some(old)),
        &patience,
        1,
        &["version 0.0.1 on burn 0.1.0", "build both"],
    );

    // By the environment, as by the option.
    let args = [
        "sample", "run", "--count", "1", "--steps", "1", "--device", &first, "--out", "x.png",
    ];
    let sampled = command(path, &args)
        .env("DIFFUSION_TOKEN_FILE", "token")
        .status()
        .unwrap();
    assert!(sampled.success());
    let said = worker.end(path);
    assert!(said.contains("has a wrong token"), "{said}");
    assert!(!said.contains("this-is-another-token"), "{said}");
}

#[test]
fn a_worker_starts_only_where_it_is_safe() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fail(path, &["worker"], 2, &["needs a token", "--token-file"]);
    let open = ["worker", "--token-file", "token", "--listen", "0.0.0.0:0"];
    fail(
        path,
        &open,
        2,
        &["nothing is encrypted", "SSH tunnel", "--insecure-network"],
    );
    assert!(!path.join("token").exists());
    let worker = Worker::start(path);
    let taken = worker.address.to_string();
    let again = ["worker", "--token-file", "token", "--listen", &taken];
    fail(path, &again, 1, &[&taken, "--listen"]);
    let far = worker.device(0);
    let again = [
        "worker",
        "--token-file",
        "token",
        "--listen",
        "127.0.0.1:0",
        "--device",
        &far,
    ];
    fail(path, &again, 2, &["its own machine"]);
}

/// Whatever comes to the port of a worker, its sessions go on.
#[test]
fn garbage_on_the_port_disturbs_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let worker = Worker::start(path);
    let steps = ["--steps", "6"];
    train(
        path,
        "quiet",
        &[SETTINGS, &steps, &["--device", &worker.device(0)]].concat(),
    );
    let training = start_training(path, "disturbed", &worker.device(0), &steps);
    let is_done = AtomicBool::new(false);
    let head = "GET /session HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let garbage: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"\x00\xff\x16\x03".repeat(5000),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"GET /session HTTP/1.1\r\nUpgrade: websocket\r\nOrigin: http://a\r\n\r\n".to_vec(),
        b"GET /data HTTP/1.1\r\nUpgrade: websocket\r\n\r\n".to_vec(),
        b"GET /session HTTP/1.1\r\n".to_vec(),
        // A frame of 1 GiB, one that is no message of burn's, and one that says more than comes.
        [head.as_bytes(), b"\x82\xff\0\0\0\0\x40\0\0\0abcd"].concat(),
        [head.as_bytes(), b"\x82\x85abcdefghi"].concat(),
        [head.as_bytes(), b"\x82\xfe\x0f\0abcd"].concat(),
        head.as_bytes().to_vec(),
    ];
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut open = Vec::new();
            while !is_done.load(Ordering::Relaxed) {
                for bytes in &garbage {
                    if let Ok(mut stream) = TcpStream::connect(worker.address) {
                        let _ = stream.write_all(bytes);
                        open.push(stream);
                    }
                }
                // Many are open at once, and some of them are never closed.
                if open.len() > 60 {
                    open.drain(..30);
                }
                sleep(Duration::from_millis(20));
            }
        });
        let ended = ended(training, LONGEST);
        is_done.store(true, Ordering::Relaxed);
        assert_eq!(ended.code, Some(0), "{ended:#?}");
    });
    let at = |out: &str| tensors(&checkpoint(&path.join(out), 6));
    assert!(at("quiet") == at("disturbed"));
    let said = worker.end(path);
    for part in [
        "refused 127.0.0.1",
        "no HTTP request",
        "too long",
        "pages of a browser",
    ] {
        assert!(
            said.contains(part),
            "no {part:?} in {}",
            &said[..said.len().min(2000)]
        );
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_run_whose_worker_is_killed_goes_on_elsewhere_to_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut worker = Worker::start(path);
    let training = start_training(path, "killed", &worker.both(), &["--steps", "100000"]);
    wait_for(path, "killed", 2);
    worker.kill();
    let ended = ended(training, Duration::from_secs(60));
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    for part in [
        &worker.url()[..],
        "cannot be reached",
        "go on with",
        "train --resume killed",
    ] {
        assert!(ended.stderr.contains(part), "no {part:?} in {ended:#?}");
    }
    let step = newest(&path.join("killed"));

    let worker = Worker::start(path);
    let steps = step.to_string();
    train(
        path,
        "whole",
        &[SETTINGS, &["--steps", &steps, "--device", &worker.both()]].concat(),
    );
    let more = (step + 2).to_string();
    for out in ["killed", "whole"] {
        succeed(
            path,
            &[
                "train", "--resume", out, "--steps", &more, "--device", "flex",
            ],
        );
    }
    let at = |out: &str| tensors(&checkpoint(&path.join(out), step + 2));
    assert!(at("killed") == at("whole"));
}

#[test]
fn a_worker_that_hangs_ends_the_training() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let worker = Worker::start(path);
    let patience = ["--steps", "100000", "--worker-timeout", "4"];
    let training = start_training(path, "run", &worker.device(0), &patience);
    wait_for(path, "run", 1);
    worker.signal("-STOP");
    let stopped = Instant::now();
    let ended = ended(training, Duration::from_secs(30));
    assert!(stopped.elapsed() > Duration::from_secs(2));
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    for part in ["has not answered for", "train --resume run"] {
        assert!(ended.stderr.contains(part), "no {part:?} in {ended:#?}");
    }
    // The same for one that samples, and for one that only begins.
    let sample = [
        "sample",
        "run",
        "--device",
        &worker.device(0),
        "--token-file",
        "token",
        "--worker-timeout",
        "2",
    ];
    fail(path, &sample, 1, &["has not answered for 2 s"]);
    worker.signal("-CONT");
    let resume = ["train", "--resume", "run", "--device", "flex", "--steps"];
    let steps = (newest(&path.join("run")) + 1).to_string();
    succeed(path, &[&resume[..], &[&steps]].concat());
}

#[test]
fn a_training_goes_on_by_itself_once_the_worker_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut worker = Worker::start(path);
    let address = worker.address.to_string();
    let steps = ["--steps", "40"];
    let tries = ["--steps", "40", "--retry", "3"];
    let training = start_training(path, "run", &worker.both(), &tries);
    wait_for(path, "run", 2);
    worker.kill();
    sleep(Duration::from_secs(2));
    let mut worker = Worker::start_at(path, &address);
    let before = newest(&path.join("run"));
    assert!(before < 40);
    wait_for(path, "run", before + 2);
    // Nobody notices when it is gone, but by what it then does not know any more.
    worker.kill();
    let worker = Worker::start_at(path, &address);
    let ended = ended(training, LONGEST);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(
        ended
            .stderr
            .contains("starting again from the last checkpoint"),
        "{ended:#?}"
    );
    train(
        path,
        "whole",
        &[SETTINGS, &steps, &["--device", &worker.both()]].concat(),
    );
    let at = |out: &str| tensors(&checkpoint(&path.join(out), 40));
    assert!(at("run") == at("whole"));
}

#[test]
fn tries_come_to_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut worker = Worker::start(path);
    let address = worker.address.to_string();
    let tries = ["--steps", "100000", "--retry", "1"];
    let training = start_training(path, "run", &worker.device(0), &tries);
    wait_for(path, "run", 1);
    worker.kill();
    let mut worker = Worker::start_at(path, &address);
    let before = newest(&path.join("run"));
    wait_for(path, "run", before + 1);
    worker.kill();
    let ended = ended(training, Duration::from_secs(60));
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(ended.stderr.contains("go on with"), "{ended:#?}");
    copy_folder(&path.join("run"), &path.join("copy"));
    let steps = (newest(&path.join("copy")) + 1).to_string();
    let resume = [
        "train", "--resume", "copy", "--device", "flex", "--steps", &steps,
    ];
    let resumed = run(path, &resume);
    assert_eq!(resumed.code, Some(0), "{resumed:#?}");
}
