//! Which objects one transaction takes.

use std::collections::VecDeque;

use super::find::Found;
use crate::sink::Codec;

/// What one transaction takes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Objects.
    pub objects: usize,
    /// Their compressed bytes, unless a single one has more.
    pub bytes: u64,
}

/// `objects`, which are of one stream, in batches within `limits`: those of one codec in their order, and then those of
/// another one, since a COPY reads one compression only. After a codec was changed, or while it is, a stretch of time has
/// both.
pub(super) fn batches(objects: Vec<Found>, limits: Limits) -> VecDeque<Vec<Found>> {
    let mut of_codec = Codec::ALL.map(|_| Vec::new());
    for object in objects {
        let place = Codec::ALL.iter().position(|codec| *codec == object.codec()).unwrap_or_default();
        of_codec[place].push(object);
    }
    of_codec.into_iter().flat_map(|objects| of_one_codec(objects, limits)).collect()
}

fn of_one_codec(objects: Vec<Found>, limits: Limits) -> Vec<Vec<Found>> {
    let mut batches: Vec<Vec<Found>> = Vec::new();
    let mut bytes = 0;
    for object in objects {
        let fits = |batch: &Vec<Found>| batch.len() < limits.objects && bytes + object.bytes <= limits.bytes;
        if let Some(batch) = batches.last_mut().filter(|batch| fits(batch)) {
            bytes += object.bytes;
            batch.push(object);
        } else {
            bytes = object.bytes;
            batches.push(vec![object]);
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Hour;

    fn sizes(bytes: &[u64], limits: Limits) -> Vec<Vec<u64>> {
        let found = |bytes: &u64| Found { key: bytes.to_string(), hour: Hour(0), bytes: *bytes, events: 1, crc32: 0 };
        let batches = batches(bytes.iter().map(found).collect(), limits);
        batches.into_iter().map(|batch| batch.into_iter().map(|object| object.bytes).collect()).collect()
    }

    #[test]
    fn batches_are_in_order_and_within_the_limits_but_for_an_object_that_is_larger_alone() {
        let limits = Limits { objects: 3, bytes: 10 };
        assert_eq!(
            sizes(&[1, 2, 3, 4, 5, 5, 1, 99, 1], limits),
            [vec![1, 2, 3], vec![4, 5], vec![5, 1], vec![99], vec![1]]
        );
        assert!(sizes(&[], limits).is_empty());
    }

    #[test]
    fn no_batch_has_objects_of_two_codecs() {
        let keys = ["a.ndjson.gz", "b.ndjson.zst", "c.ndjson.gz", "d.ndjson.zst", "e.ndjson.zst"];
        let found = |key: &str| Found { key: key.to_owned(), hour: Hour(0), bytes: 1, events: 1, crc32: 0 };
        let batches = batches(keys.map(found).to_vec(), Limits { objects: 2, bytes: 10 });
        let keys: Vec<Vec<String>> =
            batches.into_iter().map(|batch| batch.into_iter().map(|object| object.key).collect()).collect();
        assert_eq!(keys, [&["a.ndjson.gz", "c.ndjson.gz"][..], &["b.ndjson.zst", "d.ndjson.zst"], &["e.ndjson.zst"]]);
    }
}
