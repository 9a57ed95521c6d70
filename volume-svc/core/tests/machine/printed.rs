//! Compares a table with the one that is kept beside the tests, and says where they differ.

use std::path::Path;

/// Fails with the first differing line unless `fresh` is the content of `tests/<name>`; with `UPDATE_TABLES=1` it is
/// written instead.
pub fn compare(name: &str, fresh: &str) {
    let kept_path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name);
    if std::env::var("UPDATE_TABLES").is_ok_and(|value| value == "1") {
        std::fs::write(&kept_path, fresh).expect("the folder of the tests can be written");
        return;
    }
    let kept = std::fs::read_to_string(&kept_path).unwrap_or_default();
    if kept == fresh {
        return;
    }
    let differing = kept.lines().zip(fresh.lines()).enumerate().find(|(_, (k, f))| k != f);
    panic!(
        "{name} is not what the code does; first difference: {differing:#?}; {} lines kept, {} fresh. \
         UPDATE_TABLES=1 writes it anew",
        kept.lines().count(),
        fresh.lines().count(),
    );
}
