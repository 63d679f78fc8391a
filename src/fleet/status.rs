//! `status`: the accounting of running sidecars.

mod text;

use super::{
    client::{ClientAccess, ClientError, Connector},
    discover::{self, Found, Sidecar},
    error::FleetError,
    json_line, printed,
    probe::each,
    target::{Target, of_process},
};
use crate::{
    event::proto::sidecar::GetStatusResponse,
    net::address::Address,
    system::{log::error_line, thread},
    terminal::screen::Screen,
    worker::{Exit, exit::FAILED},
};
use serde::Serialize;
use std::{io, sync::Arc};

/// Prints the accounting of these sidecars, or of all of this host: as text, or as JSON objects with one on
/// each line. The exit code is 125 if one of them does not answer, which is reported.
///
/// # Errors
///
/// If a file of the options cannot be used, `/proc` cannot be read or standard output fails.
pub fn run(targets: Vec<Target>, json: bool, access: &ClientAccess) -> Result<Exit, FleetError> {
    let connector = Arc::new(Connector::new(access)?);
    let is_all = targets.is_empty();
    let (subjects, left_out) = subjects(targets)?;
    let runtime = thread::runtime().enable_all().build().map_err(FleetError::Start)?;
    let ask = |subject: Result<Subject, Failure>| {
        let connector = Arc::clone(&connector);
        async move { ask(&connector, subject?).await }
    };
    let answers = runtime.block_on(each(subjects, ask));
    // A name may still be looked up.
    runtime.shutdown_background();
    let (mut output, mut exit) = (String::new(), Exit::Code(0));
    let screen = Screen::of(io::stdout());
    for answer in &answers {
        match answer {
            _ if json => output += &json_object(answer),
            Ok(answered) => {
                output += if output.is_empty() { "" } else { "\n" };
                output += &screen.text(&text::lines(answered, &screen));
            }
            Err(_) => {}
        }
    }
    printed(&output)?;
    for failure in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        error_line(&failure.message);
        exit = Exit::Code(FAILED);
    }
    if answers.is_empty() {
        error_line(discover::none_found("", left_out.as_deref()));
        exit = Exit::Code(FAILED);
    } else if is_all {
        left_out.iter().for_each(error_line);
    }
    Ok(exit)
}

/// A sidecar to ask.
enum Subject {
    Found(Sidecar),
    Given(Address),
}

/// A sidecar that has answered.
struct Answered {
    /// What was found; none if the address was given.
    sidecar: Option<Sidecar>,
    address: Address,
    status: GetStatusResponse,
}

/// A sidecar without an answer.
#[derive(Default)]
struct Failure {
    pid: Option<u32>,
    address: Option<Address>,
    command: Option<String>,
    message: String,
}

impl Failure {
    fn no_sidecar(pid: u32, message: String) -> Self {
        Self { pid: Some(pid), message, ..Self::default() }
    }

    fn of_found(sidecar: &Sidecar, error: &ClientError) -> Self {
        Self {
            pid: Some(sidecar.pid),
            address: sidecar.listeners.first().cloned(),
            command: Some(sidecar.command.clone()),
            message: match error {
                ClientError::Stopped { .. } => error.to_string(),
                _ => format!("sidecar {}: {}", sidecar.pid, error.brief()),
            },
        }
    }

    fn of_given(address: Address, error: &ClientError) -> Self {
        Self { address: Some(address), message: error.to_string(), ..Self::default() }
    }
}

type Subjects = Vec<Result<Subject, Failure>>;

/// The sidecars that the arguments name, and a sentence about running ones that are left out.
fn subjects(targets: Vec<Target>) -> Result<(Subjects, Option<String>), FleetError> {
    let is_needed = targets.is_empty() || targets.iter().any(|target| matches!(target, Target::Process(_)));
    let found = if is_needed { discover::sidecars().map_err(FleetError::Find)? } else { Found::default() };
    let left_out = found.left_out();
    if targets.is_empty() {
        return Ok((
            found.sidecars.into_iter().map(|sidecar| Ok(Subject::Found(sidecar))).collect(),
            left_out,
        ));
    }
    let subject = |target| match target {
        Target::Address(address) => Ok(Subject::Given(address)),
        Target::Process(pid) => match of_process(pid, &found) {
            Ok(sidecar) => Ok(Subject::Found(sidecar.clone())),
            Err(message) => Err(Failure::no_sidecar(pid, message)),
        },
    };
    Ok((targets.into_iter().map(subject).collect(), left_out))
}

async fn ask(connector: &Connector, subject: Subject) -> Result<Answered, Failure> {
    match subject {
        Subject::Found(sidecar) => match connector.found(&sidecar).await {
            Ok((connection, status)) => {
                Ok(Answered { sidecar: Some(sidecar), address: connection.address().clone(), status })
            }
            Err(error) => Err(Failure::of_found(&sidecar, &error)),
        },
        Subject::Given(address) => {
            let status = async { connector.given(&address).await?.status_later().await };
            match status.await {
                Ok(status) => Ok(Answered { sidecar: None, address, status }),
                Err(error) => Err(Failure::of_given(address, &error.explained().await)),
            }
        }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Object<'a> {
    /// Null if neither the command line nor the sidecar says it.
    pid: Option<u32>,
    /// Null for a process that is no sidecar.
    address: Option<String>,
    /// Null if the address was given.
    command: Option<&'a str>,
    error: Option<&'a str>,
    /// Null if there is an error.
    status: Option<&'a GetStatusResponse>,
}

fn json_object(answer: &Result<Answered, Failure>) -> String {
    json_line(&match answer {
        Ok(Answered { sidecar, address, status }) => Object {
            pid: Some(sidecar.as_ref().map_or(status.pid, |sidecar| sidecar.pid)),
            address: Some(address.to_string()),
            command: sidecar.as_ref().map(|sidecar| sidecar.command.as_str()),
            error: None,
            status: Some(status),
        },
        Err(Failure { pid, address, command, message }) => Object {
            pid: *pid,
            address: address.as_ref().map(ToString::to_string),
            command: command.as_deref(),
            error: Some(message),
            status: None,
        },
    })
}
