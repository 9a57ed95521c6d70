//! Every scenario of the protocol that concerns a migration, and every failure of the catalogue, has its row in
//! `docs/scenarios.md`, and every test that a row names exists. What those tests say is theirs.

use super::{files, has_extension, none};
use std::collections::BTreeSet;

const SCENARIOS: &str = "docs/scenarios.md";

/// Scenarios of the protocol that concern a migration.
const OF_A_MIGRATION: [u32; 22] =
    [10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 26, 27, 30, 31, 32, 33, 34, 35, 36, 37, 39, 40];

/// The cells of a table's row, without those of its head.
fn cells(line: &str) -> Option<Vec<&str>> {
    let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
    let head = cells.iter().all(|cell| cell.bytes().all(|b| b == b'-'));
    (!head).then_some(cells)
}

/// The failures of the catalogue as `call: what fails`.
fn failures(document: &str) -> Vec<String> {
    let section =
        document.lines().skip_while(|l| !l.starts_with("## 11.")).skip(1).take_while(|l| !l.starts_with("## "));
    let mut call = String::new();
    let mut found = Vec::new();
    for row in section.filter_map(cells).skip(1) {
        if !row[0].is_empty() {
            row[0].clone_into(&mut call);
        }
        found.push(format!("{call}: {}", row[1]));
    }
    found
}

/// Names of tests in the code: functions under an attribute that makes one.
fn test_names(files: &[(String, String)]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, text) in files.iter().filter(|(n, _)| has_extension(n, &["rs"])) {
        let mut test = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[") {
                test |= line.starts_with("#[test]") || line.contains("::test");
            } else if let Some(rest) = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn ")) {
                if test {
                    names.extend(rest.split(['(', '<']).next().map(str::to_owned));
                }
                test = false;
            }
        }
    }
    names
}

/// What is wrong with a table of scenarios: a row that is due and missing, a row without a test, a test that is not there.
fn scenario_faults(table: &str, due: &[String], tests: &BTreeSet<String>) -> Vec<String> {
    let rows: Vec<Vec<&str>> = table.lines().filter_map(cells).filter(|row| row.len() == 3).collect();
    let mut faults: Vec<String> = due
        .iter()
        .filter(|due| !rows.iter().any(|row| row[0] == **due || row[0].starts_with(&format!("{due}:"))))
        .map(|due| format!("{SCENARIOS}: no row for {due}"))
        .collect();
    for row in rows.iter().filter(|row| row[2] != "tests") {
        let named: Vec<&str> = row[2].split('`').skip(1).step_by(2).collect();
        if named.is_empty() && !row[2].starts_with("not built: ") {
            faults.push(format!("{SCENARIOS}: {} has no test", row[0]));
        }
        let missing = named.into_iter().filter(|name| !tests.contains(*name));
        faults.extend(missing.map(|name| format!("{SCENARIOS}: {}: there is no test {name}", row[0])));
    }
    faults
}

#[test]
fn every_scenario_and_every_failure_has_tests_that_exist() {
    let files = files();
    let text = |wanted: &str| files.iter().find(|(n, _)| n == wanted).map(|(_, text)| text.as_str()).expect(wanted);
    let mut due = failures(text("docs/aws.md"));
    assert!(due.len() > 40, "the catalogue of failures is not believable: {}", due.len());
    due.extend(OF_A_MIGRATION.map(|n| format!("H{n}")));
    due.extend((1..=8).map(|n| format!("F{n}")));
    none(&scenario_faults(text(SCENARIOS), &due, &test_names(&files)));
}

#[test]
fn a_scenario_without_its_test_is_seen() {
    let tests: BTreeSet<String> = ["h1_a".to_owned()].into();
    let faults = |table: &str, due: &[&str]| {
        let due: Vec<String> = due.iter().map(|text| (*text).to_owned()).collect();
        scenario_faults(table, &due, &tests).len()
    };
    let head = "| scenario | rule | tests |\n|---|---|---|\n";
    assert_eq!(faults(&format!("{head}| H1: a | b | `h1_a` |"), &["H1"]), 0);
    assert_eq!(faults(&format!("{head}| H1: a | b | `h1_b` |"), &["H1"]), 1);
    assert_eq!(faults(&format!("{head}| H1: a | b | some |"), &["H1"]), 1);
    assert_eq!(faults(&format!("{head}| H1: a | b | not built: c |"), &["H1"]), 0);
    assert_eq!(faults(&format!("{head}| H1: a | b | `h1_a` |"), &["H1", "H11", "Detach: c"]), 2);
    assert_eq!(
        failures("## 11. F\n| call | what |\n|---|---|\n| A | b |\n| | c |\n## 12. G\n| D | e |"),
        ["A: b", "A: c"]
    );
    let names = test_names(&[(
        "a.rs".to_owned(),
        "#[test]\nfn a() {}\nfn b() {}\n#[tokio::test(x)]\nasync fn c() {}".to_owned(),
    )]);
    assert_eq!(names, ["a".to_owned(), "c".to_owned()].into());
}
