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

/// A device of a worker that serves several of this processor.
fn worker(index: usize) -> Device {
    static URL: OnceLock<String> = OnceLock::new();
    let url = URL.get_or_init(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let server = with_kernels(RemoteServer::new(vec![Device::flex(); 8]), &Device::flex())
            .with_authorizer(TokenAuthorizer::new(TOKEN).unwrap());
        thread::spawn(move || server.serve(WebSocketTransport::from_listener(listener)));
        url
    });
    let host = RemoteHost::websocket(url).with_credential(TOKEN);
    Device::remote_options(&host)
        .device_index(index)
        .init()
        .unwrap()
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

/// Operations that make no sense end the session of who sends them, and no other.
#[test]
fn nonsense_is_refused() {
    /// A name, the shapes of the tensors, and the numbers.
    type Sent<'a> = (&'static str, &'a [&'a [usize]], Vec<ScalarIr>);

    let image = [1, 4, 5, 5];
    let convolution = |kernel: u64| {
        let lengths = [kernel, kernel, 1, 1, 1, 1, 1].map(ScalarIr::UInt);
        let mut numbers = vec![ScalarIr::Bool(false); 3];
        numbers.extend(lengths);
        numbers.extend([ScalarIr::Bool(false); 2]);
        numbers
    };
    let sent: [Sent<'_>; 5] = [
        ("kernels::convolve", &[&image], Vec::new()),
        (
            "kernels::convolve",
            &[&image, &[8, 4, 3, 3]],
            convolution(1),
        ),
        (
            "kernels::convolve",
            &[&image, &[8, 2, 3, 3]],
            convolution(3),
        ),
        ("kernels::sum", &[&image, &[1, 4, 5, 4]], Vec::new()),
        ("kernels::part_channels", &[&image], vec![ScalarIr::UInt(4)]),
    ];
    for (place, (name, shapes, scalars)) in sent.into_iter().enumerate() {
        let device = worker(3 + place);
        let DispatchDevice::Remote(remote) = device.as_dispatch() else {
            panic!("{device:?} is of no worker");
        };
        let client = CustomOpClient::new(remote);
        let inputs: Vec<TensorIr> = shapes
            .iter()
            .map(|shape| {
                let ones = Tensor::<4>::ones(Shape::from(shape.to_vec()), &device);
                ones.try_into_primitive::<burn::backend::Remote>()
                    .unwrap()
                    .into_ir()
            })
            .collect();
        let id = client.create_empty_handle();
        let output = TensorIr::uninit(id, Shape::from(image.to_vec()), DType::F32);
        let op = CustomOpIr::with_scalars(name, &inputs, &[output], scalars);
        let result = client.register(op).remove(0);
        let result = Tensor::<4>::from_primitive::<burn::backend::Remote>(result);
        assert!(result.try_into_data().is_err(), "{name} {place}");
    }
    images::concatenations().iter().for_each(compare);
}
