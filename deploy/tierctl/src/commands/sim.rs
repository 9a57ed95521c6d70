//! `tierctl sim`: the faults of the simulated cloud, for rehearsals on the development stack.
//!
//! What faults there are and what is wrong with a request is said by the cloud itself; nothing here knows a fault.

use crate::cli::sim::{Fault as Command, Options, Sim, Which};
use crate::cloud::{Cloud, CloudError};
use crate::exit::{Exit, Fault};
use crate::output::{Output, Row};
use crate::stack::Stack;
use crate::table::Align;
use crate::words::{duration, or_dash};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::Path;
use tiershift_core::{Error, FieldFault, Kind, Reason};

/// Runs a command against the cloud that was named, else the one of the stack.
pub async fn run(at: &Options, stack: &Path, command: Sim, output: &mut Output) -> Result<Exit, Fault> {
    let url = address(at, stack)?;
    let cloud = Cloud::at(&url);
    match command {
        Sim::Faults => {
            let catalogue: Catalogue = cloud.get("/sim/faults/catalogue").await.map_err(|error| told(error, &url))?;
            output.rows(&catalogue.faults)?;
        }
        Sim::Fault { command: Command::List } => {
            let on: Active = cloud.get("/sim/faults").await.map_err(|error| told(error, &url))?;
            let clock: Clock = cloud.get("/sim/clock").await.map_err(|error| told(error, &url))?;
            output.rows(&on.rows(clock.now_ms))?;
        }
        Sim::Fault { command: Command::Set { name, which, count, skip, for_ms } } => {
            let mut body = which.json();
            body.insert("fault".to_owned(), json!(name));
            for (key, value) in [("count", count.map(u64::from)), ("skip", skip.map(u64::from)), ("for_ms", for_ms)] {
                body.extend(value.map(|value| (key.to_owned(), json!(value))));
            }
            let body = Value::Object(body);
            let _done: Value = cloud.post("/sim/faults", &body).await.map_err(|error| told(error, &url))?;
            if output.json() {
                output.object(&body)?;
            } else {
                output.text(&format!("set: {}\n", said(&body)))?;
            }
        }
        Sim::Fault { command: Command::Clear { name, which, all: _ } } => {
            let mut body = which.json();
            body.extend(name.map(|name| ("fault".to_owned(), json!(name))));
            let path = "/sim/faults/clear";
            let cleared: Active = cloud.post(path, &Value::Object(body)).await.map_err(|error| told(error, &url))?;
            if output.json() {
                output.rows(&cleared.rows(0))?;
            } else if cleared.faults.is_empty() {
                output.text("nothing of that was on\n")?;
            } else {
                for fault in &cleared.faults {
                    output.text(&format!("cleared: {}\n", said(&Value::Object(fault.clone()))))?;
                }
            }
        }
    }
    Ok(Exit::Succeeded)
}

fn address(at: &Options, stack: &Path) -> Result<String, Fault> {
    let url = if let Some(url) = &at.cloud_url {
        url.clone()
    } else {
        let found = Stack::read(stack).map_err(|fault| Fault::usage(&fault))?;
        found.map(|stack| stack.cloud_url).filter(|url| !url.is_empty()).ok_or_else(|| {
            Fault::Usage("no simulated cloud: start the stack with `./x run`, or give --cloud-url".to_owned())
        })?
    };
    let parsed = url.parse::<http::Uri>().ok();
    let usable = parsed.is_some_and(|uri| uri.scheme_str() == Some("http") && uri.authority().is_some());
    if usable {
        Ok(url)
    } else {
        Err(Fault::Usage(format!("--cloud-url: an address like http://127.0.0.1:7103 is wanted, not `{url}`")))
    }
}

/// The flag of a field of a request, or the field.
fn flag(field: &str) -> &str {
    match field {
        "fault" => "NAME",
        "api" => "--api",
        "instance_id" => "--instance",
        "group_name" => "--group",
        "action" => "--action",
        "lag_ms" => "--lag-ms",
        "count" => "--count",
        "skip" => "--skip",
        "for_ms" => "--for",
        other => other,
    }
}

/// What the simulated cloud says when it refuses.
#[derive(Deserialize)]
struct Refusal {
    code: String,
    message: String,
    #[serde(default)]
    faults: Vec<FieldFault>,
}

/// Why there is no answer, in this program's own terms.
fn told(error: CloudError, url: &str) -> Fault {
    match error {
        CloudError::Away(cause) => {
            let text = format!("the simulated cloud does not answer at {url}: {cause}");
            Error::new(Kind::Unavailable, Reason::Unavailable, text).into()
        }
        CloudError::Refused { status, body } => match serde_json::from_str::<Refusal>(&body) {
            Ok(refusal) if !refusal.faults.is_empty() => {
                let fields = refusal.faults.into_iter();
                let fields = fields.map(|fault| FieldFault { field: flag(&fault.field).to_owned(), rule: fault.rule });
                Error::invalid(fields.collect()).into()
            }
            Ok(refusal) => {
                let text = format!("the simulated cloud says {}: {}", refusal.code, refusal.message);
                Error::new(Kind::FailedPrecondition, Reason::WrongState, text).into()
            }
            Err(_) => {
                let text = format!("{url} answers {status}: is that the simulated cloud?");
                Error::new(Kind::Internal, Reason::Internal, text).into()
            }
        },
        CloudError::Malformed(cause) => {
            let text = format!("{url} answers something else than a simulated cloud of this version: {cause}");
            Error::new(Kind::Internal, Reason::Internal, text).into()
        }
    }
}

/// A fault in words: its name, then whatever else there is.
fn said(fault: &Value) -> String {
    let name = fault["fault"].as_str().unwrap_or("fault");
    let rest = fault.as_object().into_iter().flatten().filter(|(key, value)| *key != "fault" && !value.is_null());
    let rest = rest.map(|(key, value)| format!(" {key}={}", plain(value)));
    std::iter::once(name.to_owned()).chain(rest).collect()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Which {
    /// What is said, by the cloud's names.
    fn json(self) -> Map<String, Value> {
        let texts =
            [("api", self.api), ("instance_id", self.instance), ("group_name", self.group), ("action", self.action)];
        let texts = texts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value?))));
        texts.chain(self.lag_ms.map(|lag_ms| ("lag_ms".to_owned(), json!(lag_ms)))).collect()
    }
}

#[derive(Deserialize)]
struct Clock {
    now_ms: i64,
}

#[derive(Deserialize)]
struct Catalogue {
    faults: Vec<CatalogueRow>,
}

/// A fault that there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogueRow {
    /// Its name.
    pub name: String,
    /// What goes wrong.
    pub sentence: String,
    /// `chances` (a count counts), `steadily` or `once`.
    pub strikes: String,
    /// What it takes.
    pub parameters: Vec<Parameter>,
}

/// What a fault takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// The cloud's name for it.
    pub name: String,
    /// Whether it must be there.
    pub required: bool,
    /// What it must be.
    pub kind: String,
}

impl Row for CatalogueRow {
    const COLUMNS: &'static [(&'static str, Align)] =
        &[("FAULT", Align::Left), ("TAKES", Align::Left), ("STRIKES", Align::Left), ("WHAT GOES WRONG", Align::Left)];

    fn cells(&self) -> Vec<String> {
        let takes = self.parameters.iter().map(|parameter| {
            let flag = flag(&parameter.name);
            if parameter.required { flag.to_owned() } else { format!("[{flag}]") }
        });
        let takes = takes.collect::<Vec<_>>().join(" ");
        vec![self.name.clone(), or_dash(&takes), self.strikes.clone(), self.sentence.clone()]
    }
}

#[derive(Deserialize)]
struct Active {
    faults: Vec<Map<String, Value>>,
}

impl Active {
    fn rows(&self, now_ms: i64) -> Vec<ActiveRow> {
        self.faults.iter().map(|fault| ActiveRow { fault: fault.clone(), now_ms }).collect()
    }
}

/// A fault that is on. Programs get it as the cloud says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ActiveRow {
    fault: Map<String, Value>,
    #[serde(skip)]
    now_ms: i64,
}

impl Row for ActiveRow {
    const COLUMNS: &'static [(&'static str, Align)] = &[
        ("FAULT", Align::Left),
        ("STRIKES ON", Align::Left),
        ("COUNT", Align::Right),
        ("SKIPS", Align::Right),
        ("ENDS IN", Align::Right),
    ];

    fn cells(&self) -> Vec<String> {
        let how = ["fault", "count", "skip", "until_ms"];
        let number = |key: &str| self.fault.get(key).and_then(Value::as_i64);
        let on = self.fault.iter().filter(|(key, _)| !how.contains(&key.as_str()));
        let on = on.map(|(key, value)| format!("{key}={}", plain(value))).collect::<Vec<_>>().join(" ");
        let or_dashed = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        vec![
            self.fault.get("fault").map(plain).unwrap_or_default(),
            or_dash(&on),
            or_dashed(number("count")),
            or_dashed(number("skip")),
            number("until_ms").map_or_else(|| "-".to_owned(), |until_ms| duration(until_ms - self.now_ms)),
        ]
    }
}
