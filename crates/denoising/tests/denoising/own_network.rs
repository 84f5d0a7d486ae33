//! The example of a network and a sampler from outside the crate.

#[allow(dead_code, reason = "a test has no main")]
#[path = "../../examples/own_network.rs"]
mod example;

use burn::tensor::Device;

use example::{CENTRES, DEVIATION, sample, summary};

#[test]
fn its_samples_are_the_class() {
    let device = Device::flex();
    device.seed(0);
    for (class, centre) in CENTRES.into_iter().enumerate() {
        let points = sample(class, 1.0, 2000, &device).unwrap();
        let [mean, deviation] = summary(&points).unwrap();
        for coordinate in 0..2 {
            assert!(
                (mean[coordinate] - centre[coordinate]).abs() < 0.02,
                "{mean:?}"
            );
            let error = deviation[coordinate] - DEVIATION as f32;
            assert!(error.abs() < 0.02, "{deviation:?}");
        }
        // Guidance leads away from the other class, along the first coordinate.
        let guided = sample(class, 3.0, 2000, &device).unwrap();
        let [guided, _] = summary(&guided).unwrap();
        assert!(
            guided[0].abs() > mean[0].abs() + 0.02,
            "{guided:?} {mean:?}"
        );
        assert!((guided[1] - centre[1]).abs() < 0.02, "{guided:?}");
    }
}
