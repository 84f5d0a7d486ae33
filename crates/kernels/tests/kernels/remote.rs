//! The kernels on a worker against those of this process, which must give the same bits: values and all gradients.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::OnceLock;
use std::thread;

use burn::backend::DispatchDevice;
use burn::remote::{CustomOpClient, RemoteHost};
use burn::server::{CustomOpIr, RemoteServer, TokenAuthorizer, WebSocketTransport};
use burn::tensor::{DType, Device, Shape, Tensor, TensorData};
use burn_ir::{ScalarIr, TensorIr};
use kernels::with_kernels;

use crate::case::{Case, normal, numbers};
use crate::images;
use crate::optimizer::after_a_step;

const TOKEN: &str = "a-token-of-these-tests";

/// Devices of each worker: an operation that makes no sense ends the session of its own.
const DEVICES: usize = 64;

/// The address of a worker that serves a device of this machine, under many numbers.
fn serve(device: &Device) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let server = with_kernels(RemoteServer::new(vec![device.clone(); DEVICES]), device)
        .with_authorizer(TokenAuthorizer::new(TOKEN).unwrap());
    thread::spawn(move || server.serve(WebSocketTransport::from_listener(listener)));
    url
}

fn device_of(url: &str, index: usize) -> Device {
    let host = RemoteHost::websocket(url).with_credential(TOKEN);
    Device::remote_options(&host)
        .device_index(index)
        .init()
        .unwrap()
}

/// A device of a worker that serves this processor.
fn worker(index: usize) -> Device {
    static URL: OnceLock<String> = OnceLock::new();
    device_of(URL.get_or_init(|| serve(&Device::flex())), index)
}

fn compare(case: &Case) {
    let ours = |leaves: &_| case.operation.ours(leaves);
    let expected = case.results(&Device::flex().autodiff(), ours);
    let found = case.results(&worker(0).autodiff(), ours);
    assert!(found == expected, "{:?}", case.operation);
}

#[test]
fn operations_on_images() {
    let cases = [
        images::normalisations(),
        images::convolutions(),
        images::convolutions_of_many_pixels(),
        images::windows(),
        images::concatenations(),
        images::attentions(),
        images::self_attentions(),
    ];
    cases.iter().flatten().for_each(compare);
}

/// A tensor that is used again, whose gradients are added.
#[test]
fn gradients_that_are_added() {
    let gradient = |device: &Device| {
        let data = |dims: [usize; 4], seed| {
            let data = TensorData::new(normal(dims.iter().product(), seed), dims);
            Tensor::<4>::from_data(data, device).require_grad()
        };
        let (x, weight) = (data([2, 8, 6, 5], 0), data([8, 8, 3, 3], 1));
        let convolved = |x, weight| {
            kernels::conv2d_3x3(x, weight, kernels::Plus::default(), kernels::Sampling::Same)
        };
        let h = convolved(x.clone(), weight.clone());
        let y = convolved(h.clone(), weight.clone())
            + kernels::concat_channels(h.clone(), h).narrow(1, 4, 8);
        let gradients = y.square().sum().backward();
        [&x, &weight].map(|leaf| numbers(leaf.grad(&gradients).unwrap()))
    };
    assert!(gradient(&worker(1).autodiff()) == gradient(&Device::flex().autodiff()));
}

#[test]
fn optimiser() {
    assert!(after_a_step(70_001, &worker(2)) == after_a_step(70_001, &Device::flex()));
}

/// An operation as it is sent: its name, the shapes of its tensors, its numbers and how many results it has.
#[derive(Clone, Debug)]
struct Sent<'a> {
    name: &'static str,
    shapes: Vec<&'a [usize]>,
    numbers: Vec<ScalarIr>,
    results: usize,
}

/// Whether a device computes it.
fn is_computed(sent: &Sent<'_>, device: &Device) -> bool {
    let DispatchDevice::Remote(remote) = device.as_dispatch() else {
        panic!("{device:?} is of no worker");
    };
    let client = CustomOpClient::new(remote);
    let inputs: Vec<TensorIr> = sent
        .shapes
        .iter()
        .map(|shape| match **shape {
            [length] => ones([length], device),
            [a, b, c] => ones([a, b, c], device),
            [a, b, c, d] => ones([a, b, c, d], device),
            _ => unreachable!("no tensor has {} axes", shape.len()),
        })
        .collect();
    let outputs: Vec<TensorIr> = (0..sent.results)
        .map(|_| TensorIr::uninit(client.create_empty_handle(), Shape::from([1]), DType::F32))
        .collect();
    let op = CustomOpIr::with_scalars(sent.name, &inputs, &outputs, sent.numbers.clone());
    client.register(op).into_iter().all(|result| {
        let result = Tensor::<1>::from_primitive::<burn::backend::Remote>(result);
        result.try_into_data().is_ok()
    })
}

/// What is changed of an operation so that it makes no sense.
enum Change<'a> {
    /// A tensor has another shape.
    Shape(usize, &'a [usize]),
    Numbers(Vec<ScalarIr>),
}

/// Sends a worker operations that make sense, and each with changes so that it makes none, which ends the session of
/// who sends it, and no other. `kept` is the shape of what an attention of 2 heads over 36 pixels keeps.
fn refuses_nonsense(url: &str, kept: &[usize]) {
    use Change::{Numbers, Shape};

    let (image, smaller) = ([1, 4, 6, 6], [1, 4, 6, 5]);
    let (weight, convolved, channels) = ([8, 4, 3, 3], [1, 8, 6, 6], [4]);
    let flag = ScalarIr::Bool;
    let count = |count| vec![ScalarIr::UInt(count)];
    let window = |kernel: u64, stride: u64, padding: u64, is_upsampled| {
        let mut numbers = [kernel, kernel, stride].map(ScalarIr::UInt).to_vec();
        numbers.extend([ScalarIr::UInt(padding); 4]);
        numbers.push(flag(is_upsampled));
        numbers
    };
    let convolution = |window: Vec<ScalarIr>| {
        let mut numbers = [true, false, false].map(flag).to_vec();
        numbers.extend(window);
        numbers.push(flag(false));
        numbers
    };
    let same = || window(3, 1, 1, false);
    let gradient = |mut window: Vec<ScalarIr>| {
        window.push(flag(false));
        window
    };
    let norm = |groups| {
        let groups = ScalarIr::UInt(groups);
        vec![flag(false), groups, ScalarIr::Float(1e-5), flag(true)]
    };
    let coefficients = || vec![ScalarIr::Float(0.5); 8];
    let gradient_of_convolution = || {
        vec![
            Shape(1, &[8, 2, 3, 3]),
            Shape(2, &image),
            Shape(2, &[1, 8, 6, 5]),
            Shape(2, &[2, 8, 6, 6]),
            Numbers(gradient(window(3, 1, 0, true))),
            Numbers(gradient(window(1, 1, 0, false))),
            Numbers(gradient(window(3, 2, 1, false))),
        ]
    };
    let sent = |name, shapes, numbers, results| Sent {
        name,
        shapes,
        numbers,
        results,
    };

    let operations = [
        (
            sent(
                "kernels::convolve",
                vec![&image[..], &weight, &[8]],
                convolution(same()),
                2,
            ),
            vec![
                Shape(0, &[1, 3, 6, 6]),
                Shape(1, &[8, 2, 3, 3]),
                Shape(2, &[4]),
                Numbers(convolution(window(1, 1, 0, false))),
                Numbers(convolution(window(3, 0, 1, false))),
                Numbers(convolution(window(3, 1, u64::MAX, false))),
                Numbers(Vec::new()),
            ],
        ),
        (
            sent(
                "kernels::parameter_gradients",
                vec![&image, &weight, &convolved],
                gradient(same()),
                2,
            ),
            gradient_of_convolution(),
        ),
        (
            sent(
                "kernels::input_gradient",
                vec![&image, &weight, &convolved],
                gradient(same()),
                1,
            ),
            gradient_of_convolution(),
        ),
        (
            sent(
                "kernels::normalise",
                vec![&image, &channels, &channels],
                norm(2),
                3,
            ),
            vec![
                Shape(1, &[3]),
                Shape(2, &[5]),
                Numbers(norm(3)),
                Numbers(norm(0)),
            ],
        ),
        (
            sent(
                "kernels::norm_gradients",
                vec![&image, &[1, 2, 2], &channels, &channels, &image],
                gradient(norm(2)),
                3,
            ),
            vec![
                Shape(1, &[1, 2, 1]),
                Shape(4, &smaller),
                Numbers(gradient(norm(4))),
            ],
        ),
        (
            sent("kernels::attend", vec![&image, &image, &image], count(2), 5),
            vec![Shape(2, &smaller), Numbers(count(3)), Numbers(count(0))],
        ),
        (
            sent(
                "kernels::attention_gradients",
                vec![&image, &image, &image, &image, kept, &image],
                count(2),
                3,
            ),
            vec![
                Shape(3, &smaller),
                Shape(4, &[1]),
                Shape(5, &smaller),
                Numbers(count(4)),
            ],
        ),
        (
            sent(
                "kernels::join_channels",
                vec![&image, &image],
                Vec::new(),
                1,
            ),
            vec![Shape(1, &smaller), Shape(0, &[2, 4, 6, 6])],
        ),
        (
            sent("kernels::part_channels", vec![&image], count(1), 2),
            vec![Numbers(count(4)), Numbers(count(0)), Shape(0, &[4])],
        ),
        (
            sent("kernels::sum", vec![&image, &image], Vec::new(), 1),
            vec![Shape(1, &smaller)],
        ),
        (
            sent(
                "kernels::adamw",
                vec![&[5], &[5], &[5], &[5], &[1]],
                coefficients(),
                3,
            ),
            vec![
                Shape(0, &[4]),
                Shape(2, &[4]),
                Shape(3, &[6]),
                Shape(4, &[2]),
                Numbers(vec![ScalarIr::Float(0.5); 7]),
            ],
        ),
        (
            sent(
                "kernels::moving_average",
                vec![&[5], &[5]],
                vec![ScalarIr::Float(0.5)],
                1,
            ),
            vec![Shape(1, &[4]), Numbers(count(1))],
        ),
    ];
    let mut sessions = 1..DEVICES;
    for (sent, changes) in operations {
        assert!(is_computed(&sent, &device_of(url, 0)), "{}", sent.name);
        for change in changes {
            let mut sent = sent.clone();
            match change {
                Shape(place, shape) => sent.shapes[place] = shape,
                Numbers(numbers) => sent.numbers = numbers,
            }
            let device = device_of(url, sessions.next().unwrap());
            assert!(!is_computed(&sent, &device), "{sent:?}");
        }
    }
}

fn ones<const D: usize>(shape: [usize; D], device: &Device) -> TensorIr {
    Tensor::<D>::ones(shape, device)
        .try_into_primitive::<burn::backend::Remote>()
        .unwrap()
        .into_ir()
}

#[test]
fn nonsense_is_refused() {
    refuses_nonsense(&serve(&Device::flex()), &[1, 2, 36]);
}

#[cfg(feature = "wgpu")]
#[test]
fn nonsense_is_refused_by_a_worker_with_a_gpu() {
    crate::gpu::on_gpu(|gpu| refuses_nonsense(&serve(&gpu), &[1, 2, 36, 36]));
}
