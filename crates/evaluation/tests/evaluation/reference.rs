//! Scores of features against torchmetrics and torch-fidelity, whose numbers are those of
//! `scripts/reference/scores_golden.py`.

use evaluation::{FeatureStatistics, Features, frechet_distance, precision_recall, squared_mmd};
use safetensors::SafeTensors;

const GOLDEN: &[u8] = include_bytes!("golden/scores.safetensors");

fn features(file: &SafeTensors<'_>, name: &str) -> Features {
    let view = file.tensor(name).unwrap();
    let (values, _) = view.data().as_chunks::<4>();
    let values = values.iter().map(|&b| f32::from_le_bytes(b)).collect();
    Features::new(values, view.shape()[1]).unwrap()
}

#[track_caller]
fn assert_close(found: f64, expected: f64, tolerance: f64, what: &str) {
    let error = (found - expected).abs() / expected.abs().max(1e-3);
    assert!(error < tolerance, "{what}: {found}, expected {expected}");
}

#[test]
fn scores_are_those_of_torchmetrics_and_torch_fidelity() {
    let file = SafeTensors::deserialize(GOLDEN).unwrap();
    let (_, header) = SafeTensors::read_metadata(GOLDEN).unwrap();
    let cases = header.metadata().as_ref().unwrap()["cases"].clone();
    assert_eq!(cases.lines().count(), 5);
    for line in cases.lines() {
        let parts: Vec<&str> = line.split(' ').collect();
        let [name, fid, kid, k, precision, recall] = parts[..] else {
            panic!("{line}");
        };
        let number = |text: &str| text.parse::<f64>().unwrap();
        let first = features(&file, &format!("{name}/first"));
        let second = features(&file, &format!("{name}/second"));

        let statistics = [&first, &second].map(|set| FeatureStatistics::of(set).unwrap());
        let found = frechet_distance(&statistics[0], &statistics[1]).unwrap();
        assert_close(found, number(fid), 1e-6, &format!("FID of {name}"));

        let size = first.len().min(second.len());
        let head = |set: &Features| set.select(&(0..size).collect::<Vec<_>>());
        let found = squared_mmd(&head(&first), &head(&second)).unwrap();
        assert_close(found, number(kid), 1e-9, &format!("KID of {name}"));

        let found = precision_recall(&first, &second, k.parse().unwrap()).unwrap();
        assert_close(
            found.precision,
            number(precision),
            1e-6,
            &format!("precision of {name}"),
        );
        assert_close(
            found.recall,
            number(recall),
            1e-6,
            &format!("recall of {name}"),
        );
    }
}
