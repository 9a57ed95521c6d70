//! The workspace held to its own rules: who may depend on whom, that what code cites stands in `docs/`, that paths
//! in the documents exist, and the small rules that every file keeps.
//!
//! Each rule is a pure function from text to faults. One test runs it over the tracked files, another feeds it
//! something broken and sees it speak. What the crates do is tested elsewhere. That every scenario has its tests is in
//! `workspace/scenarios.rs`.

#![expect(clippy::expect_used, reason = "a test's helpers: a failed one is the report")]

#[path = "workspace/scenarios.rs"]
mod scenarios;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// This file and its modules: they spell what they forbid, and numbers that do not exist.
const SELF: &str = "tests/tests/workspace";

/// What package managers write, hosts of registries included.
const LOCKS: [&str; 2] = ["Cargo.lock", "package-lock.json"];

/// "Never above": a longer file holds more than one concept.
const LINES_MAX: usize = 800;

/// Documents whose paths must exist. Those in `docs/` are checked for links only: they speak of AWS's paths too.
const GUIDES: [&str; 3] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above this crate").to_owned()
}

/// Tracked files that are text, with their contents, in order. A tracked file that is deleted is left out.
fn files() -> Vec<(String, String)> {
    let root = root();
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(&root).output().expect("git runs");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let list = String::from_utf8(output.stdout).expect("names are UTF-8");
    let files: Vec<_> = list
        .split('\0')
        .filter(|name| !name.is_empty() && !LOCKS.iter().any(|lock| name.ends_with(lock)))
        .filter_map(|name| Some((name.to_owned(), std::fs::read_to_string(root.join(name)).ok()?)))
        .collect();
    assert!(files.len() > 100, "the list of tracked files is not believable: {}", files.len());
    files
}

fn has_extension(name: &str, wanted: &[&str]) -> bool {
    Path::new(name).extension().is_some_and(|e| wanted.iter().any(|w| e == *w))
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

// ---- Who may depend on whom ----

/// The pure cores: nothing but values, so nothing but these.
const CORES: [&str; 3] = ["tiershift-core", "subscription-core", "volume-core"];
const CORE_MAY: [&str; 4] = ["serde", "thiserror", "sha2", "toml"];

/// Who must never name what, by prefix, in any kind of dependency.
const NEVER: [(&str, &[&str], &str); 13] = [
    ("tiershift-core", &["tokio", "sqlx", "tonic", "aws-", "rand", "hyper"], "a core has no I/O, clock or chance"),
    ("subscription-core", &["tokio", "sqlx", "tonic", "aws-", "rand", "hyper"], "a core has no I/O, clock or chance"),
    ("volume-core", &["tokio", "sqlx", "tonic", "aws-", "rand", "hyper"], "a core has no I/O, clock or chance"),
    ("tiershift-core", &["tiershift-", "subscription-", "volume-"], "everything rests on it"),
    ("subscription-core", &["volume-"], "the two domains meet in the contract only"),
    ("volume-core", &["subscription-"], "the two domains meet in the contract only"),
    ("tiershift-proto", &["tiershift-", "subscription-", "volume-"], "the contract rests on nothing"),
    ("tiershift-common", &["subscription-", "volume-"], "it knows neither service"),
    ("volume-svc", &["subscription-"], "calls go one way"),
    ("subscription-svc", &["volume-"], "it knows volume-svc by the contract only"),
    ("cloud-sim", &["subscription-", "volume-", "aws-"], "a simulator shares no code with what is tested on it"),
    (
        "tiershift-stripe",
        &["subscription-", "volume-", "tiershift-"],
        "a fake shares no code with what is tested on it",
    ),
    ("tierctl", &["subscription-", "volume-", "aws-", "sqlx"], "a client speaks the contract and nothing else"),
];

fn dependency_faults(package: &str, dependencies: &[(String, DependencyKind)]) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, kind) in dependencies {
        if CORES.contains(&package)
            && *kind != DependencyKind::Development
            && !CORE_MAY.contains(&name.as_str())
            && !CORES.contains(&name.as_str())
        {
            faults.push(format!("{package} names {name}: a core may name {CORE_MAY:?} and cores"));
        }
        let banned = NEVER.iter().filter(|(who, what, _)| *who == package && what.iter().any(|p| name.starts_with(p)));
        faults.extend(banned.map(|(_, _, why)| format!("{package} names {name} ({kind}): {why}")));
    }
    faults
}

fn metadata() -> Metadata {
    let mut command = MetadataCommand::new();
    command.current_dir(root()).no_deps().other_options(["--offline".to_owned()]);
    command.exec().expect("cargo metadata")
}

#[test]
fn crates_depend_only_in_the_allowed_direction() {
    let metadata = metadata();
    let names: BTreeSet<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    for (who, _, _) in NEVER {
        assert!(names.contains(who), "{who} is no member: the rule about it is stale");
    }
    let faults: Vec<String> = metadata
        .packages
        .iter()
        .flat_map(|p| {
            let all: Vec<_> = p.dependencies.iter().map(|d| (d.name.clone(), d.kind)).collect();
            dependency_faults(p.name.as_str(), &all)
        })
        .collect();
    none(&faults);
}

#[test]
fn a_wrong_dependency_is_seen() {
    let faults = |package: &str, name: &str, kind| dependency_faults(package, &[(name.to_owned(), kind)]).len();
    assert_eq!(faults("volume-core", "serde_json", DependencyKind::Normal), 1);
    assert_eq!(faults("volume-core", "serde_json", DependencyKind::Development), 0);
    assert_eq!(faults("volume-core", "tokio-util", DependencyKind::Development), 1);
    assert_eq!(faults("volume-core", "tokio", DependencyKind::Normal), 2);
    assert_eq!(faults("subscription-core", "volume-core", DependencyKind::Normal), 1);
    assert_eq!(faults("subscription-core", "tiershift-core", DependencyKind::Normal), 0);
    assert_eq!(faults("volume-svc", "subscription-core", DependencyKind::Normal), 1);
    assert_eq!(faults("subscription-svc", "volume-svc", DependencyKind::Development), 1);
    assert_eq!(faults("tiershift-common", "volume-core", DependencyKind::Normal), 1);
    assert_eq!(faults("cloud-sim", "volume-svc", DependencyKind::Development), 1);
}

fn inherits_lints(manifest: &str) -> bool {
    let lines: Vec<&str> = manifest.lines().map(str::trim).collect();
    lines.windows(2).any(|w| w == ["[lints]", "workspace = true"])
}

#[test]
fn every_member_inherits_the_lints() {
    let without: Vec<String> = metadata()
        .packages
        .iter()
        .filter(|p| !inherits_lints(&std::fs::read_to_string(&p.manifest_path).expect("a manifest")))
        .map(|p| format!("{} does not inherit the workspace's lints", p.name))
        .collect();
    none(&without);
    assert!(inherits_lints("[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"));
    assert!(!inherits_lints("[package]\nname = \"a\"\n\n[lints.clippy]\npedantic = \"warn\"\n"));
}

// ---- Only `app.rs` puts ports and adapters together ----

/// Modules that implement ports: service, module, the adapters in it (empty = all of it).
const ADAPTERS: [(&str, &str, &[&str]); 5] = [
    ("volume-svc", "adapters", &[]),
    ("volume-svc", "store", &["dynamodb", "memory"]),
    ("subscription-svc", "store", &["sqlite", "memory"]),
    ("subscription-svc", "migrations", &["grpc"]),
    ("subscription-svc", "payments", &["sim", "manual", "stripe"]),
];

/// Files that may name an adapter all the same, each with its reason. One that is not needed any more is a fault.
const EXCEPTIONS: [(&str, &str, &str); 1] =
    [("volume-svc/src/world.rs", "adapters", "the batching describer is written over the port and implements none")];

/// Code without comments, without tests at its end, and without white space.
fn code_of(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines()
        .filter(|l| !l.trim_start().starts_with("//"))
        .flat_map(str::chars)
        .filter(|c| !c.is_whitespace())
        .collect()
}

fn names_adapter(code: &str, module: &str, adapters: &[&str]) -> bool {
    let path = format!("{module}::");
    code.match_indices(&path).any(|(at, _)| {
        let whole_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest = &code[at + path.len()..];
        let named = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default().split([',', ':']).any(|w| adapters.contains(&w)),
            None => {
                adapters.iter().any(|a| rest.strip_prefix(a).is_some_and(|r| !r.starts_with(char::is_alphanumeric)))
            }
        };
        whole_word && (adapters.is_empty() || named)
    })
}

/// `app.rs` puts ports and adapters together; `config.rs` reads the adapters' own options and builds nothing.
const MAY_NAME_ADAPTERS: [&str; 2] = ["app.rs", "config.rs"];

/// Files that name an adapter from outside of all adapters of their service, with the adapter's module.
fn adapter_users(files: &[(String, String)]) -> Vec<(&str, &'static str)> {
    let mut users = Vec::new();
    for (name, text) in files.iter().filter(|(n, _)| has_extension(n, &["rs"])) {
        let Some((service, file)) = name.split_once("/src/") else { continue };
        let of_service = || ADAPTERS.iter().filter(|(owner, _, _)| *owner == service);
        let home = of_service().any(|(_, module, _)| file.starts_with(module));
        let test = file.ends_with("tests.rs") || file.contains("tests/");
        if home || test || MAY_NAME_ADAPTERS.contains(&file) {
            continue;
        }
        let code = code_of(text);
        let named = of_service().filter(|(_, module, adapters)| names_adapter(&code, module, adapters));
        users.extend(named.map(|(_, module, _)| (name.as_str(), *module)));
    }
    users
}

#[test]
fn only_app_puts_ports_and_adapters_together() {
    let files = files();
    let users = adapter_users(&files);
    let allowed = |name: &str, module: &str| EXCEPTIONS.iter().any(|(n, m, _)| *n == name && *m == module);
    let mut faults: Vec<String> = users
        .iter()
        .filter(|(name, module)| !allowed(name, module))
        .map(|(name, module)| format!("{name} names an adapter of `{module}`: only app.rs may"))
        .collect();
    faults.extend(
        EXCEPTIONS
            .iter()
            .filter(|(name, module, _)| !users.contains(&(*name, *module)))
            .map(|(name, module, _)| format!("{name} needs no exception for `{module}` any more: remove it")),
    );
    none(&faults);
}

#[test]
fn a_use_case_that_names_an_adapter_is_seen() {
    let seen = |name: &str, text: &str| adapter_users(&[(name.to_owned(), text.to_owned())]).len();
    assert_eq!(seen("volume-svc/src/driver.rs", "use crate::adapters::aws::Aws;"), 1);
    assert_eq!(seen("volume-svc/src/driver.rs", "// see crate::adapters::aws"), 0);
    assert_eq!(seen("volume-svc/src/driver.rs", "use crate::store::schema;"), 0);
    assert_eq!(seen("volume-svc/src/driver.rs", "use crate::store::{\n    memory::Memory, schema};"), 1);
    assert_eq!(seen("volume-svc/src/app.rs", "use crate::adapters::aws::Aws;"), 0);
    assert_eq!(
        seen("volume-svc/src/driver.rs", "fn a() {}\n#[cfg(test)]\nmod tests { use crate::store::memory::M; }"),
        0
    );
    assert_eq!(seen("subscription-svc/src/usecase/a.rs", "use crate::payments::sim::Sim;"), 1);
    assert_eq!(seen("subscription-svc/src/usecase/a.rs", "use crate::payments::stripe::Stripe;"), 1);
    assert_eq!(seen("subscription-svc/src/usecase/a.rs", "use crate::payments::simple::Simple;"), 0);
    assert_eq!(seen("subscription-svc/src/payments/policy.rs", "use crate::payments::sim::Sim;"), 0);
}

// ---- What code cites stands in docs ----

/// Lines without comment marks, joined: a citation may be broken over two lines.
fn flowing(text: &str) -> String {
    let bare = |line: &str| line.trim().trim_start_matches(['/', '!', '#']).trim().to_owned();
    text.lines().map(bare).collect::<Vec<_>>().join(" ")
}

/// A number at the start of a text, and what follows it.
fn number(text: &str) -> Option<(u32, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

/// `18`, `21-23`, `30 and 31`, `2, 13, 14` at the start of a text.
fn numbers(text: &str) -> Vec<u32> {
    let Some((first, mut rest)) = number(text) else { return Vec::new() };
    let mut found = vec![first];
    loop {
        let range = rest.strip_prefix('-').or_else(|| rest.strip_prefix(" to ")).and_then(number);
        let next = rest.strip_prefix(", ").or_else(|| rest.strip_prefix(" and ")).and_then(number);
        let last = found.last().copied().unwrap_or(first);
        match (range, next) {
            (Some((to, after)), _) => {
                found.extend(last + 1..=to);
                rest = after;
            }
            (None, Some((one, after))) => {
                found.push(one);
                rest = after;
            }
            (None, None) => return found,
        }
    }
}

/// `H12`, `F1`, `N2`, `D-20`, `D-12b` at the start of a text; the whole word, or none.
fn lettered(text: &str) -> Option<String> {
    let digits_at = match text.as_bytes() {
        [b'H' | b'F' | b'N', ..] => 1,
        [b'D', b'-', ..] => 2,
        _ => return None,
    };
    let digits = text[digits_at..].bytes().take_while(u8::is_ascii_digit).count();
    let mut end = digits_at + digits;
    if digits_at == 2 && text[end..].starts_with('b') {
        end += 1;
    }
    let whole = !text[end..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
    (whole && (1..=2).contains(&digits)).then(|| text[..end].to_owned())
}

/// Everything that a text cites by number.
fn citations(text: &str) -> BTreeSet<String> {
    let text = flowing(text);
    let mut found = BTreeSet::new();
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let rest = &text[at..];
        if !before.is_alphanumeric() && before != '_' {
            found.extend(lettered(rest));
            for (word, key) in
                [("rule", "rule"), ("Rule", "rule"), ("invariant", "invariant"), ("Invariant", "invariant")]
            {
                if let Some(after) = rest.strip_prefix(word) {
                    let after = after.strip_prefix('s').unwrap_or(after);
                    let cited = after.strip_prefix(' ').map(numbers).unwrap_or_default();
                    found.extend(cited.into_iter().map(|n| format!("{key} {n}")));
                }
            }
        }
        before = c;
    }
    found
}

/// Numbers that a document defines: the first cells of its tables' rows.
fn definitions(text: &str) -> Vec<String> {
    let first_cell =
        |line: &str| Some(line.strip_prefix("| ")?.split('|').next()?.trim().trim_end_matches(" ○").to_owned());
    text.lines()
        .filter_map(first_cell)
        .filter(|cell| {
            let numbered = cell.strip_prefix("rule ").or_else(|| cell.strip_prefix("invariant "));
            lettered(cell).is_some_and(|all| all == *cell)
                || numbered.and_then(number).is_some_and(|(_, r)| r.is_empty())
        })
        .collect()
}

/// Documents cited as `docs/aws.md`, with the section if one follows (`docs/aws.md 1.3`, `docs/aws.md, section 12`).
fn sections(text: &str) -> BTreeSet<(String, Option<String>)> {
    let text = flowing(text);
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("docs/") {
        let path: String = text[at..]
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-'))
            .collect();
        let Some(end) = path.find(".md") else { continue };
        let path = &path[..end + 3];
        let rest = &text[at + path.len()..];
        let rest = rest.strip_prefix(", section ").or_else(|| rest.strip_prefix(' ')).unwrap_or_default();
        let section = number(rest).map(|(chapter, after)| match after.strip_prefix('.').and_then(number) {
            Some((part, _)) => format!("{chapter}.{part}"),
            None => chapter.to_string(),
        });
        found.insert((path.to_owned(), section));
    }
    found
}

fn has_section(document: &str, section: &str) -> bool {
    let heading = |line: &str| {
        Some(line.trim_start_matches('#').trim_start().split(' ').next()?.trim_end_matches('.') == section)
    };
    document.lines().filter(|l| l.starts_with('#')).any(|l| heading(l) == Some(true))
}

/// Files whose citations count: code, contracts, scripts and documents, but not printed tables.
fn cites(name: &str) -> bool {
    !name.starts_with(SELF)
        && has_extension(name, &["rs", "proto", "toml", "sql", "ts", "py", "sh", "md", "yml", "yaml"])
}

fn docs(files: &[(String, String)]) -> impl Iterator<Item = &(String, String)> {
    files.iter().filter(|(n, _)| n.starts_with("docs/") && has_extension(n, &["md"]))
}

#[test]
fn every_number_that_is_cited_is_defined_once() {
    let files = files();
    let mut defined = BTreeSet::new();
    let mut faults = Vec::new();
    for (name, text) in docs(&files) {
        for key in definitions(text) {
            if !defined.insert(key.clone()) {
                faults.push(format!("{name}: {key} is defined twice"));
            }
        }
    }
    let series = [("H", 40), ("F", 8), ("N", 8), ("rule ", 48), ("invariant ", 17)];
    for key in series.iter().flat_map(|(s, last)| (1..=*last).map(move |n| format!("{s}{n}"))) {
        if !defined.contains(&key) {
            faults.push(format!("docs: {key} is missing"));
        }
    }
    for (name, text) in files.iter().filter(|(n, _)| cites(n)) {
        faults.extend(citations(text).difference(&defined).map(|key| format!("{name}: {key} is in no document")));
    }
    none(&faults);
}

#[test]
fn every_section_of_a_document_that_is_cited_exists() {
    let files = files();
    let mut faults = Vec::new();
    for (name, text) in files.iter().filter(|(n, _)| cites(n)) {
        for (path, section) in sections(text) {
            match docs(&files).find(|(n, _)| *n == path) {
                None => faults.push(format!("{name}: {path} does not exist")),
                Some((_, document)) => faults.extend(
                    section.filter(|s| !has_section(document, s)).map(|s| format!("{name}: {path} has no section {s}")),
                ),
            }
        }
    }
    none(&faults);
}

#[test]
fn citations_are_found_and_missing_ones_are_seen() {
    let of = |text: &str| citations(text).into_iter().collect::<Vec<_>>();
    assert_eq!(of("/// as H12 says, F1-F8,\n/// and D-12b (N2)."), ["D-12b", "F1", "F8", "H12", "N2"]);
    assert_eq!(
        of("//! broken by rule\n//! 18, and rules 21-23 and 30"),
        ["rule 18", "rule 21", "rule 22", "rule 23", "rule 30"]
    );
    assert_eq!(of("(invariants 2, 13, 14)"), ["invariant 13", "invariant 14", "invariant 2"]);
    assert!(of("0xF1 SHA2 h2 KH12 H123 rule of thumb, the rules: 3").is_empty(), "{:?}", of("0xF1"));
    assert_eq!(
        definitions("| H1 ○ | a |\n| rule 3 | b |\n| D-12b | c |\n| Hat | d |\n| rule of | e |"),
        ["H1", "rule 3", "D-12b"]
    );
    let missing = |text: &str| citations(text).difference(&definitions("| H1 | a |").into_iter().collect()).count();
    assert_eq!((missing("see H1"), missing("see H1 and H41")), (0, 1));
    let found = sections("/// (docs/aws.md 1.3); docs/aws.md, section 12, and\n/// docs/protocol.md.");
    let of = |path: &str, section: Option<&str>| (path.to_owned(), section.map(str::to_owned));
    let wanted = [of("docs/aws.md", Some("1.3")), of("docs/aws.md", Some("12")), of("docs/protocol.md", None)];
    assert_eq!(found, wanted.into());
    assert!(has_section("# A\n## 12. Times\n### 1.3 Snapshots", "12") && !has_section("## 12. Times\n1.3 x", "1.3"));
}

// ---- Paths in the documents exist ----

/// Words in backticks that look like paths of the repository: a slash, or a document or manifest in its root.
fn paths(markdown: &str) -> BTreeSet<String> {
    let inside = |line: &str| line.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let spans = markdown.lines().filter(|l| !l.starts_with("```")).flat_map(inside);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    spans
        .flat_map(|span| span.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter(|word| word.chars().all(plain) && !word.starts_with('/') && !word.starts_with("--"))
        .filter(|word| word.contains('/') || has_extension(word, &["md", "toml"]))
        .map(|word| word.trim_start_matches("./").trim_end_matches('/').to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

/// Targets of relative links.
fn links(markdown: &str) -> BTreeSet<String> {
    let target = |part: &str| Some(part.split_once(')')?.0.split('#').next()?.to_owned());
    let all = markdown.split("](").skip(1).filter_map(target);
    all.filter(|t| !t.is_empty() && !t.contains("://")).collect()
}

/// What is made at run time is named in documents and is in no checkout.
fn made_at_run_time(ignored: &str, path: &str) -> bool {
    ignored.lines().filter_map(|l| l.strip_prefix('/')).any(|folder| Path::new(path).starts_with(folder))
}

#[test]
fn every_path_in_the_documents_exists() {
    let (root, files) = (root(), files());
    let ignored = std::fs::read_to_string(root.join(".gitignore")).expect(".gitignore");
    let mut faults = Vec::new();
    for guide in GUIDES {
        let text = std::fs::read_to_string(root.join(guide)).expect(guide);
        let missing = paths(&text).into_iter().filter(|p| !made_at_run_time(&ignored, p) && !root.join(p).exists());
        faults.extend(missing.map(|path| format!("{guide}: {path} does not exist")));
    }
    for (name, text) in files.iter().filter(|(n, _)| has_extension(n, &["md"])) {
        let folder = root.join(name).parent().expect("a file is in a folder").to_owned();
        let missing = links(text).into_iter().filter(|link| !folder.join(link).exists());
        faults.extend(missing.map(|link| format!("{name}: the link to {link} leads nowhere")));
    }
    none(&faults);
}

#[test]
fn a_path_that_leads_nowhere_is_seen() {
    let found =
        paths("Run `./x demo` or `cargo test -p a`; see `docs/aws.md`, `Cargo.toml`, `app.rs`, `/under`, `a::b`.");
    assert_eq!(found, ["Cargo.toml", "docs/aws.md", "x"].map(str::to_owned).into());
    assert_eq!(links("[a](docs/b.md#c) [d](https://e.f) [g](#h)"), ["docs/b.md".to_owned()].into());
    assert!(made_at_run_time("/target\n/data\n", "data/stack.json") && !made_at_run_time("/data\n", "database/a"));
    assert!(!root().join("docs/nowhere.md").exists());
}

// ---- What every file keeps ----

/// Words that belong to one machine or to another project, by what they would tell a stranger: nothing.
const FORBIDDEN: [&str; 11] = [
    "/work/",
    "crates.io",
    "pypi.org",
    "registry.npmjs",
    "../shared",
    "PROTOCOL.md",
    "DESIGN",
    "AWS.md",
    "LESSONS.md",
    "FACTS.md",
    "STYLE.md",
];

fn file_faults(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let rust = has_extension(name, &["rs"]);
    if rust && !name.ends_with("build.rs") && !text.starts_with("//!") {
        faults.push(format!("{name}: does not open with `//!`"));
    }
    let written = rust || has_extension(name, &["proto", "md", "toml", "sql", "ts", "py", "sh"]);
    let lines = text.lines().count();
    if written && lines > LINES_MAX {
        faults.push(format!("{name}: {lines} lines, more than {LINES_MAX}"));
    }
    for (i, line) in text.lines().enumerate() {
        let words = FORBIDDEN.iter().filter(|word| line.contains(*word));
        faults.extend(words.map(|word| format!("{name}:{}: {word}", i + 1)));
        if written && names_an_issue(line) {
            faults.push(format!("{name}:{}: an issue's number", i + 1));
        }
    }
    faults
}

/// `#12` as a word.
fn names_an_issue(line: &str) -> bool {
    line.match_indices('#').any(|(at, _)| {
        let alone = at == 0 || line[..at].ends_with([' ', '(']);
        let digits = line[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        let after = line[at + 1 + digits..].chars().next();
        alone && (1..=5).contains(&digits) && after.is_none_or(|c| !c.is_alphanumeric())
    })
}

#[test]
fn every_file_keeps_the_small_rules() {
    let faults: Vec<String> = files()
        .iter()
        .filter(|(name, _)| !name.starts_with(SELF))
        .flat_map(|(name, text)| file_faults(name, text))
        .collect();
    none(&faults);
}

#[test]
fn a_file_that_breaks_a_small_rule_is_seen() {
    assert_eq!(file_faults("a/b.rs", "//! Good.\n").len(), 0);
    assert_eq!(file_faults("a/b.rs", "// No header.\n").len(), 1);
    assert_eq!(file_faults("a/build.rs", "fn main() {}\n").len(), 0);
    assert_eq!(file_faults("a/b.rs", &format!("//! Long.\n{}", "\n".repeat(LINES_MAX))).len(), 1);
    assert_eq!(file_faults("a/b.txt", &"\n".repeat(LINES_MAX + 1)).len(), 0);
    for word in FORBIDDEN {
        assert_eq!(file_faults("a/b.md", &format!("see {word} there")).len(), 1, "{word}");
    }
    assert_eq!(file_faults("a.md", "fixed in #12 and (#345)").len(), 1);
    assert_eq!(file_faults("a.md", "# 12 heads\n[a](b#12) `\"#1`\n## 3\n").len(), 0);
}
