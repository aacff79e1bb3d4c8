//! `segue policy check`.

pub(super) mod plan;

use super::{
    Failure, Format, Server, client, object,
    output::{eprint, print},
    upgrade::policy_table,
};
use clap::Subcommand;
use segue_control_plane::{
    model::{Key, Policy, PolicyField, ServiceKey},
    source::manifest::{self, Checked, Invalid},
};
use segue_proto::control;
use serde_json::{Value, json};
use std::{fmt::Write as _, path::PathBuf};

/// `segue policy`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    server: Server,
    /// How the answer is written
    #[arg(short, long, value_enum, default_value = "table", global = true)]
    output: Format,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What is wrong in manifests, which policy holds for each service and where each value comes
    /// from, and what an upgrade would do; without -f, the policy of each service's newest upgrade
    #[command(
        after_help = "Exit code 2 where a document is invalid, each error with file, line and field."
    )]
    Check(Check),
}

#[derive(Debug, clap::Args)]
struct Check {
    /// Files and folders of manifests, read as one folder; needs no control plane
    #[arg(short, long = "file", value_name = "FILE|DIR", num_args = 1..)]
    file: Vec<PathBuf>,
    /// Only this service; it need not be in the manifests
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = service)]
    service: Option<ServiceKey>,
}

fn service(text: &str) -> Result<ServiceKey, String> {
    Key::try_from(text.to_owned())
}

/// Runs the verb.
pub async fn run(args: Args) -> Result<(), Failure> {
    let Verb::Check(check) = args.verb;
    if check.file.is_empty() {
        return ask(&args.server, args.output, check.service.as_ref()).await;
    }
    match manifest::check(&check.file, check.service.as_ref()) {
        Ok(checked) => show(&checked, args.output, check.service.as_ref()),
        Err(wrong) => {
            if args.output != Format::Table {
                args.output.write(&errors(&wrong), String::new)?;
            }
            Err(invalid(&wrong))
        }
    }
}

/// All that is wrong, a line each.
pub(super) fn invalid(wrong: &[Invalid]) -> Failure {
    let lines: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    Failure::Invalid(match lines.as_slice() {
        [one] => one.clone(),
        lines => format!("{} errors\n{}", lines.len(), lines.join("\n")),
    })
}

fn errors(wrong: &[Invalid]) -> Value {
    let errors: Vec<Value> = wrong
        .iter()
        .map(|wrong| {
            json!({
                "file": wrong.file,
                "line": wrong.line,
                "field": wrong.field,
                "message": wrong.message,
            })
        })
        .collect();
    json!({"valid": false, "errors": errors})
}

fn show(checked: &Checked, output: Format, only: Option<&ServiceKey>) -> Result<(), Failure> {
    let warnings = &checked.catalog.warnings;
    let services: Vec<_> = checked
        .policies
        .iter()
        .filter(|(key, _)| only.is_none_or(|only| only == *key))
        .collect();
    let object = || {
        let services: Vec<Value> = services
            .iter()
            .map(|(key, (policy, fields))| {
                json!({
                    "service": key.to_string(),
                    "policy": fields.iter().map(|field| object::policy_field(&of(field))).collect::<Vec<_>>(),
                    "upgrade": plan::lines(policy, instances(checked, key)),
                })
            })
            .collect();
        json!({"valid": true, "warnings": warnings, "services": services})
    };
    if output != Format::Table {
        return output.write(&object(), String::new);
    }
    for warning in warnings {
        eprint(&format!("warning: {warning}\n"))?;
    }
    let mut text = String::new();
    for (key, (policy, fields)) in &services {
        describe(&mut text, key, policy, fields, instances(checked, key));
    }
    if services.is_empty() {
        text.push_str("valid; there is no Service, and no policy names one: ask with --service NAMESPACE/NAME\n");
    }
    print(&text)
}

/// How many instances the version with the most of them has: what an upgrade would begin with.
fn instances(checked: &Checked, key: &ServiceKey) -> u32 {
    let Some(service) = checked.catalog.services.get(key) else {
        return 0;
    };
    let mut counts = std::collections::BTreeMap::<_, u32>::new();
    for workload in checked.catalog.workloads.values() {
        if workload.is_selected_by(service) {
            *counts.entry(workload.version.clone()).or_default() += 1;
        }
    }
    counts.into_values().max().unwrap_or_default()
}

fn describe(
    text: &mut String,
    key: &ServiceKey,
    policy: &Policy,
    fields: &[PolicyField],
    instances: u32,
) {
    let fields: Vec<control::PolicyField> = fields.iter().map(of).collect();
    let _infallible = writeln!(text, "Service {key}\n\n{}", policy_table(&fields));
    text.push_str("An upgrade of it\n");
    for line in plan::lines(policy, instances) {
        let _infallible = writeln!(text, "  {line}");
    }
    text.push('\n');
}

fn of(field: &PolicyField) -> control::PolicyField {
    control::PolicyField {
        path: field.path.clone(),
        value: field.value.clone(),
        source: field.source.clone(),
    }
}

/// What holds at the control plane, as its upgrades say it.
async fn ask(server: &Server, output: Format, only: Option<&ServiceKey>) -> Result<(), Failure> {
    let mut upgrades = server.upgrades().await?;
    let namespace = only.map(|key| &*key.namespace);
    let mut all = client::all(server, &mut upgrades, namespace).await?;
    all.sort_by_key(|upgrade| upgrade.created.map(|at| (at.seconds, at.nanos)));
    let mut newest = std::collections::BTreeMap::new();
    for upgrade in &all {
        let target = upgrade
            .spec
            .as_ref()
            .and_then(|spec| spec.target_ref.as_ref());
        let name = target.map_or("", |target| target.name.as_str());
        let key = Key::new(&upgrade.namespace, name);
        if only.is_none_or(|only| *only == key) {
            newest.insert(key, upgrade);
        }
    }
    if newest.is_empty() {
        return Err(Failure::Refused(
            "the control plane knows of no upgrade that would show a policy: give the manifests with -f FILE|DIR".to_owned(),
        ));
    }
    let fields = |upgrade: &control::Upgrade| {
        upgrade
            .status
            .clone()
            .map(|status| status.policy)
            .unwrap_or_default()
    };
    let services: Vec<Value> = newest
        .iter()
        .map(|(key, upgrade)| {
            let fields: Vec<Value> = fields(upgrade).iter().map(object::policy_field).collect();
            json!({"service": key.to_string(), "policy": fields})
        })
        .collect();
    output.write(&json!({"services": services}), || {
        let mut text = String::new();
        for (key, upgrade) in &newest {
            let _infallible = writeln!(
                text,
                "Service {key}, by upgrade {}\n\n{}",
                upgrade.name,
                policy_table(&fields(upgrade))
            );
        }
        text
    })
}
