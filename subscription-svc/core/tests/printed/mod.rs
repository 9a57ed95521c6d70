//! Compares a table with the one that is kept in the repository, and says where the new one is when they differ.

#![allow(clippy::expect_used, clippy::panic, reason = "a helper of tests")]

use std::path::Path;

/// Fails with the first differing line unless `fresh` is the content of `tests/<name>`.
pub fn compare(name: &str, fresh: &str) {
    let kept_path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name);
    let kept = std::fs::read_to_string(&kept_path).unwrap_or_default();
    if kept == fresh {
        return;
    }
    let fresh_path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&fresh_path, fresh).expect("the target folder can be written");
    let differing = kept.lines().zip(fresh.lines()).enumerate().find(|(_, (k, f))| k != f);
    panic!(
        "{} is not what the code does; first difference: {differing:?}; {} lines kept, {} fresh, in {}",
        kept_path.display(),
        kept.lines().count(),
        fresh.lines().count(),
        fresh_path.display(),
    );
}
