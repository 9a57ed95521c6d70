//! Every word of the help is pinned in `help.txt`, so that no flag or default changes unseen.
//!
//! After a change on purpose: `TIERSHIFT_UPDATE=1 cargo test -p tierctl --test help`, and read the difference.

#![expect(clippy::expect_used, reason = "a test's helper: a failed one is the report")]

use clap::CommandFactory as _;
use tierctl::cli::Cli;

/// What `--help` prints for a command and for all below it.
fn render(command: &clap::Command, path: &[&str], text: &mut String) {
    let arguments = path.iter().copied().chain(["--help"]);
    let help = Cli::command().term_width(100).try_get_matches_from(arguments).expect_err("help is no run");
    for part in ["===== ", &path.join(" "), " --help\n", &help.to_string(), "\n"] {
        text.push_str(part);
    }
    for sub in command.get_subcommands() {
        render(sub, &[path, &[sub.get_name()]].concat(), text);
    }
}

#[test]
fn the_help_is_as_pinned() {
    let mut text = String::new();
    render(&Cli::command(), &["tierctl"], &mut text);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/help.txt");
    if std::env::var_os("TIERSHIFT_UPDATE").is_some() {
        std::fs::write(path, &text).expect("written");
    }
    let pinned = std::fs::read_to_string(path).expect("tests/help.txt");
    let differs = text.lines().zip(pinned.lines()).find(|(now, then)| now != then);
    assert!(text == pinned, "first difference (now, pinned): {differs:?}; {} and {} bytes", text.len(), pinned.len());
}
