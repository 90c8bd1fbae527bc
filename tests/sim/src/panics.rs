//! Panics of a run: tokio swallows those of a task, and none may go unseen.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// From now on panics on this thread are collected instead of printed.
pub fn collect() {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let collected = PANICS.with_borrow_mut(|panics| match panics {
                Some(panics) => {
                    panics.push(info.to_string());
                    true
                }
                None => false,
            });
            if !collected {
                before(info);
            }
        }));
    });
    PANICS.set(Some(Vec::new()));
}

/// What was collected; later ones are printed again.
pub fn collected() -> Vec<String> {
    PANICS.take().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{collect, collected};

    #[test]
    fn a_panic_is_collected_with_its_place() {
        collect();
        let caught = std::panic::catch_unwind(|| panic!("a bug"));
        assert!(caught.is_err());
        let panics = collected();
        assert!(
            panics.len() == 1 && panics[0].contains("a bug") && panics[0].contains("panics.rs"),
            "{panics:?}"
        );
        assert!(collected().is_empty());
    }
}
