//! What a misspelled word was meant to be.

/// The word of `known` that `word` was probably meant to be: the nearest, if it is near enough.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let word = word.to_lowercase();
    let near = |candidate: &&str| {
        let letters = word.chars().count();
        let part = letters >= 4 && candidate.contains(&word);
        part || distance(&word, candidate) <= 1 + letters / 4
    };
    known.iter().copied().filter(near).min_by_key(|candidate| distance(&word, candidate))
}

/// How many letters must be put in, left out or changed to make one word of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    // The distances of the beginnings of `other` to the beginning of `one` that the loop has come to.
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, another) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *another);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_word_is_recognised_and_a_strange_one_is_not() {
        let known = ["dir", "disk_quota", "segment_size", "seal_after", "seal_jitter"];
        for (word, meant) in [
            ("disk_quotta", Some("disk_quota")),
            ("segmentsize", Some("segment_size")),
            ("quota", Some("disk_quota")),
            ("Dir", Some("dir")),
            ("sealafter", Some("seal_after")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, &known), meant, "{word}");
        }
    }

    #[test]
    fn distances_count_letters() {
        for (one, other, letters) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("é", "e", 1)]
        {
            assert_eq!(distance(one, other), letters);
        }
    }
}
