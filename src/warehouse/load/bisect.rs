//! Finding what is wrong among many, if all that is told is that something is.

/// The two halves of what has more than one.
pub(super) fn halves<T>(mut all: Vec<T>) -> Result<(Vec<T>, Vec<T>), Option<T>> {
    if all.len() < 2 {
        return Err(all.pop());
    }
    let second = all.split_off(all.len() / 2);
    Ok((all, second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_finds_every_bad_one_in_few_steps_and_keeps_the_rest_in_order() {
        let bad = [3, 7, 499];
        let (mut work, mut good, mut found, mut steps) =
            (vec![(0..500).collect::<Vec<_>>()], Vec::new(), Vec::new(), 0);
        while let Some(batch) = work.pop() {
            steps += 1;
            if !batch.iter().any(|one| bad.contains(one)) {
                good.extend(batch);
                continue;
            }
            match halves(batch) {
                Ok((first, second)) => work.extend([second, first]),
                Err(one) => found.extend(one),
            }
        }
        assert_eq!(found, bad);
        assert_eq!(good, (0..500).filter(|one| !bad.contains(one)).collect::<Vec<_>>());
        assert!(steps < 60, "{steps}");
    }
}
