//! The configurations of the repository are whole and mean what they say.

use burn::module::Module;
use burn::tensor::Device;
use trainer::config::RunConfig;

fn configs() -> Vec<(String, RunConfig)> {
    let mut configs: Vec<_> = std::fs::read_dir(crate::support::repository().join("configs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, RunConfig::load(&path, &[]).unwrap())
        })
        .collect();
    configs.sort_by(|a, b| a.0.cmp(&b.0));
    configs
}

#[test]
fn every_configuration_can_be_used() {
    let configs = configs();
    let names: Vec<&str> = configs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "adult",
            "cifar10",
            "cifar10-small",
            "diamonds",
            "emoji",
            "fashion-mnist",
            "mnist",
            "names",
            "penguins",
            "points",
            "smoke",
            "speech"
        ]
    );
    for (name, config) in &configs {
        let data = config.data.name();
        assert!(
            match name.as_str() {
                "cifar10-small" => data == "cifar10",
                "points" => data == "two-moons",
                "smoke" => data == "mnist",
                "speech" => data == "fsdd",
                "diamonds" | "penguins" => data == format!("data/{name}/{name}.csv"),
                _ => data == *name || data == format!("data/{name}"),
            },
            "{name} trains on {data}"
        );
    }
}

#[test]
fn the_cifar10_network_is_the_one_of_the_paper() {
    let configs = configs();
    let (_, config) = configs.iter().find(|(name, _)| name == "cifar10").unwrap();
    // Weights are only drawn when they are needed: counting them is quick.
    let unet = config.network.init(0, &Device::flex()).unwrap();
    assert_eq!(unet.num_params(), 35_746_307);
}

/// `configs/mnist.toml` explains every key: a key of the resolved configuration that it does not
/// name is not documented.
#[test]
fn the_mnist_configuration_names_every_key() {
    let text = std::fs::read_to_string(crate::support::config("mnist.toml")).unwrap();
    let config = RunConfig::load(crate::support::config("mnist.toml").as_ref(), &[]).unwrap();
    let resolved: toml::Table = config.to_toml().unwrap().parse().unwrap();
    fn keys(table: &toml::Table, found: &mut Vec<String>) {
        for (key, value) in table {
            found.push(key.clone());
            if let toml::Value::Table(inner) = value {
                keys(inner, found);
            }
        }
    }
    let mut found = Vec::new();
    keys(&resolved, &mut found);
    assert!(found.len() > 50, "{found:?}");
    for key in found {
        let is_named = text
            .lines()
            .any(|line| line.contains(&format!("{key} = ")) || line.trim() == format!("[{key}]"));
        assert!(is_named, "{key} is not in configs/mnist.toml");
    }
}
