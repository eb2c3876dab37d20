//! A script that fails is made shorter for as long as what is left still fails: by halves first, then by ever smaller
//! pieces (Zeller's ddmin), which leaves steps of which none can be missed.

use crate::script::Script;

/// The shortest script found for which `fails` still holds. `fails(whole)` is taken for granted.
pub(crate) fn shrink(whole: &Script, fails: impl Fn(&Script) -> bool) -> Script {
    let mut kept = whole.clone();
    let mut pieces = 2;
    while !kept.steps.is_empty() {
        let len = kept.steps.len().div_ceil(pieces);
        let without = (0..kept.steps.len()).step_by(len).map(|from| {
            let kept = kept.steps.iter().enumerate();
            kept.filter(|(at, _)| !(from..from + len).contains(at)).map(|(_, step)| step.clone()).collect()
        });
        let shorter = without.map(|steps| whole.with(steps)).find(&fails);
        match shorter {
            Some(shorter) => {
                kept = shorter;
                pieces = pieces.saturating_sub(1).max(2);
            }
            None if len == 1 => break,
            None => pieces = (pieces * 2).min(kept.steps.len()),
        }
    }
    kept
}
