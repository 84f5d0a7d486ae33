//! Both splits of a person's own data, and the rule that holds some of it out where nobody did.

use sha2::{Digest, Sha256};

/// One image in this many is held out.
const HELD_OUT_ONE_IN: u64 = 10;

/// Both splits of a dataset: of an [`ImageDataset`](crate::ImageDataset) or of [`Points`](crate::Points).
#[derive(Clone, Debug)]
pub struct Splits<D> {
    /// What is learned from.
    pub train: D,
    /// What is held out.
    pub test: D,
    /// A SHA-256 that changes when the data do: of the names and lengths of the files of a folder, of
    /// the bytes of an array or a CSV. `None` for a published dataset, whose files are checked one by
    /// one, and for what the program makes up itself.
    pub fingerprint: Option<String>,
}

/// Divides images into those to learn from and those held out by their keys, such as their paths: an
/// image is held out if the first eight bytes of its key's SHA-256 are a multiple of ten, one in ten on
/// average. So an image stays on its side when others come or go. At least one image is held out, and
/// at most all but one.
///
/// Returns the indices of the images to learn from, in order, and of those held out, in the order of
/// their hashes, which makes the first few of them as good a sample as any; `None` for fewer than two
/// images.
pub(crate) fn split_by_hash<K: AsRef<[u8]>>(keys: &[K]) -> Option<(Vec<usize>, Vec<usize>)> {
    split(keys.len(), |index| hash(keys[index].as_ref()))
}

/// The same of what has no other key than its place, from 0, in decimal digits.
pub(crate) fn split_places(count: usize) -> Option<(Vec<usize>, Vec<usize>)> {
    split(count, |index| hash(index.to_string().as_bytes()))
}

fn split(count: usize, hash: impl Fn(usize) -> u64) -> Option<(Vec<usize>, Vec<usize>)> {
    let most = count.checked_sub(1).filter(|&most| most > 0)?;
    let hashes = || (0..count).map(|index| (hash(index), index));
    let mut held_out: Vec<(u64, usize)> = hashes()
        .filter(|(hash, _)| hash.is_multiple_of(HELD_OUT_ONE_IN))
        .collect();
    if held_out.is_empty() {
        held_out.extend(hashes().min());
    }
    held_out.sort_unstable();
    held_out.truncate(most);
    let mut is_held_out = vec![false; count];
    for &(_, index) in &held_out {
        is_held_out[index] = true;
    }
    let train = (0..count).filter(|&index| !is_held_out[index]).collect();
    let test = held_out.into_iter().map(|(_, index)| index).collect();
    Some((train, test))
}

/// The indices of the keys in the order of their hashes.
pub(crate) fn order_by_hash<K: AsRef<[u8]>>(keys: &[K]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by_cached_key(|&index| (hash(keys[index].as_ref()), index));
    order
}

/// The first eight bytes of a key's SHA-256.
fn hash(key: &[u8]) -> u64 {
    Sha256::digest(key)
        .iter()
        .take(8)
        .fold(0, |hash, &byte| hash << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn keys(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("images/{i}.png")).collect()
    }

    #[test]
    fn one_in_ten_is_held_out_and_stays_so_when_others_come() {
        let places: Vec<String> = (0..1000).map(|place| place.to_string()).collect();
        assert_eq!(split_places(1000), split_by_hash(&places));
        let few = keys(1000);
        let (train, test) = split_by_hash(&few).unwrap();
        assert!((60..140).contains(&test.len()), "{}", test.len());
        let mut all = [train.clone(), test.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
        let (_, of_more) = split_by_hash(&keys(2000)).unwrap();
        let mut old: Vec<usize> = of_more.into_iter().filter(|&i| i < 1000).collect();
        assert_eq!(old, test);
        old.sort_unstable();
        assert_ne!(old, test, "held-out images are in no order of their names");
    }

    #[test]
    fn small_sets_have_an_image_on_either_side() {
        assert!(split_by_hash(&keys(0)).is_none());
        assert!(split_by_hash(&keys(1)).is_none());
        for count in 2..40 {
            let (train, test) = split_by_hash(&keys(count)).unwrap();
            assert!(!train.is_empty() && !test.is_empty());
            assert_eq!(train.len() + test.len(), count);
        }
        // The first key whose hash is a multiple of ten, twice: both would be held out.
        let many = keys(100);
        let held = &many[split_by_hash(&many).unwrap().1[0]];
        assert_eq!(split_by_hash(&[held, held]).unwrap().1.len(), 1);
    }
}
