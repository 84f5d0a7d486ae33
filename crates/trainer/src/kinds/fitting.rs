//! A U-Net fitted to data that may have classes.

use std::fmt::Display;

use datasets::Splits;
use training::Data as _;
use unet::SampleSize;

use super::data::Dataset;
use super::outputs::{Fitted, Refused};
use crate::network::NetworkConfig;

/// A U-Net gets an embedding for each class and, where it has a null label, one more; its channels and size must be
/// those of the examples, which are `what` ("images").
pub(super) fn fit_unet(
    fitted: Fitted<'_>,
    splits: &Splits<Dataset>,
    what: impl Display,
) -> Result<(), Refused> {
    let dataset = &splits.train;
    let Fitted {
        network,
        conditioning,
        name,
    } = fitted;
    let refused = |key: &str, message: String| Err((key.to_owned(), message));
    let NetworkConfig::UNet(network) = network else {
        return refused("network.kind", format!("the data are {what}"));
    };
    let [channels, height, width] = dataset.example_shape();
    let num_classes = dataset.num_classes();
    if conditioning.class_labels && num_classes == 0 {
        return refused(
            "conditioning.class_labels",
            format!(
                "the {what} of {name} have no classes: set it to false, or sort them into a folder for each \
                 class, or name their classes in a metadata.csv or in the .npz file"
            ),
        );
    }
    let has_null_label = conditioning.null_label;
    if conditioning.class_labels && !has_null_label {
        for (split, examples) in [("training", dataset), ("held-out", &splits.test)] {
            let unlabelled = (0..examples.len()).find(|&index| examples.label(index).is_none());
            if let Some(index) = unlabelled {
                return refused(
                    "conditioning.null_label",
                    format!(
                        "it is false, but of the {split} {what} of {name} number {index} has no class: give it \
                         one, or set it to true"
                    ),
                );
            }
        }
    }
    let embeds = num_classes + usize::from(has_null_label);
    let embeds = conditioning.class_labels.then_some(embeds);
    if network.num_class_embeds.is_some() && network.num_class_embeds != embeds {
        return refused(
            "network.num_class_embeds",
            "it follows from conditioning.class_labels and the data set: leave it out".to_owned(),
        );
    }
    network.num_class_embeds = embeds;
    for (key, found, expected) in [
        ("network.in_channels", network.in_channels, channels),
        ("network.out_channels", network.out_channels, channels),
    ] {
        if found != expected {
            return refused(
                key,
                format!("it is {found}, but the {what} of {name} need {expected}"),
            );
        }
    }
    let needed = SampleSize { height, width };
    if network.sample_size != needed {
        return refused(
            "network.sample_size",
            format!(
                "it is {}, but the {what} of {name} need {needed}",
                network.sample_size
            ),
        );
    }
    Ok(())
}
