//! A script that fails is made shorter for as long as what is left still fails: by halves first, then by ever smaller
//! pieces (Zeller's ddmin), which leaves steps of which none can be missed.

/// The fewest steps found for which `fails` still holds. `fails(whole)` is taken for granted.
pub(crate) fn shrink<T: Clone>(whole: &[T], fails: impl Fn(&[T]) -> bool) -> Vec<T> {
    let mut kept = whole.to_vec();
    let mut pieces = 2;
    while !kept.is_empty() {
        let len = kept.len().div_ceil(pieces);
        let mut without = (0..kept.len()).step_by(len).map(|from| -> Vec<T> {
            let kept = kept.iter().enumerate();
            kept.filter(|(at, _)| !(from..from + len).contains(at)).map(|(_, step)| step.clone()).collect()
        });
        let shorter = without.find(|steps| fails(steps));
        match shorter {
            Some(shorter) => {
                kept = shorter;
                pieces = pieces.saturating_sub(1).max(2);
            }
            None if len == 1 => break,
            None => pieces = (pieces * 2).min(kept.len()),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::shrink;

    #[test]
    fn what_is_left_is_what_it_takes_and_not_every_part_is_tried() {
        let whole: Vec<u32> = (0..40).collect();
        let tries = Cell::new(0);
        let short = shrink(&whole, |steps| {
            tries.set(tries.get() + 1);
            [3, 17, 28].iter().all(|at| steps.contains(at))
        });
        assert_eq!(short, [3, 17, 28]);
        assert!(tries.get() < 200, "{}", tries.get());
    }

    #[test]
    fn what_fails_without_any_step_is_left_none() {
        assert_eq!(shrink(&[1, 2, 3], |_| true), [0; 0]);
    }
}
