//! The subcommands for running sidecars: which ones, and how to connect to them.

use super::{Task, UsageError, access, subscription::filter};
use crate::{
    fleet::{
        args::{PsArgs, StatusArgs},
        gather::args::GatherArgs,
        tail::{self, Wanted, args::TailArgs},
        target::Target,
        top::{Source, Top, args::TopArgs},
    },
    net::address::Address,
};

pub(super) fn ps(args: PsArgs) -> Result<Task, UsageError> {
    Ok(Task::Ps(args.json, Box::new(access::client(args.client, &[])?)))
}

pub(super) fn status(args: StatusArgs) -> Result<Task, UsageError> {
    let targets: Vec<_> = args.targets.into_iter().map(|given| given.value).collect();
    let access = access::client(args.client, &addresses(&targets))?;
    Ok(Task::Status(targets, args.json, Box::new(access)))
}

/// The addresses, if there are no processes: of these it is not known yet whether they have a use for TLS.
fn addresses<'a>(targets: impl IntoIterator<Item = &'a Target>) -> Vec<Address> {
    let addresses = targets.into_iter().map(|target| match target {
        Target::Address(address) => Some(address.clone()),
        Target::Process(_) => None,
    });
    addresses.collect::<Option<_>>().unwrap_or_default()
}

pub(super) fn gather(args: GatherArgs) -> Result<Task, UsageError> {
    let (settings, client) = args.settings()?;
    Ok(Task::Gather(Box::new(settings), Box::new(access::client(client, &[])?)))
}

pub(super) fn top(args: TopArgs) -> Result<Task, UsageError> {
    let from = args.sources()?;
    let targets = from.iter().filter_map(|source| match source {
        Source::Sidecar(target) => Some(target),
        Source::Recording(_) => None,
    });
    let access = access::client(args.client, &addresses(targets))?;
    Ok(Task::Top(Box::new(Top { from, access, once: args.once, interval: args.interval.0 })))
}

pub(super) fn tail(args: TailArgs) -> Result<Task, UsageError> {
    let TailArgs { targets, selection, client } = args;
    let targets: Vec<_> = targets.into_iter().map(|given| given.value).collect();
    let access = access::client(client, &addresses(&targets))?;
    let (filter, _) = filter(selection.allow, selection.deny)?;
    let is_empty = filter.allow.is_empty() && filter.deny.is_empty();
    Ok(Task::Tail(Box::new(tail::Settings {
        targets,
        json: selection.json,
        wanted: Wanted { filter: (!is_empty).then_some(filter), newest: selection.newest },
        wait: selection.wait,
        access,
    })))
}
