//! What a subscription gets.

use super::UsageError;
use crate::{
    cli::args::SubscriptionArgs,
    control::{Control, Controls, PatternLimits, Refused},
    event::proto::bridge::TelemetryEventFilter,
    system::option::{Given, Several},
};

/// What subscriptions start with.
pub(super) fn controls(args: SubscriptionArgs) -> Result<Controls, UsageError> {
    let (_, mut controls) = filter(args.allow, args.deny)?;
    let start = [
        Control::Toggle(!args.disabled),
        Control::Sampling { rate: args.sampling_rate, patterns: Vec::new() },
    ];
    for control in start {
        controls = controls.changed(control).map_err(|_| "--sampling-rate: not a number".to_owned())?;
    }
    Ok(controls)
}

/// The filter of a subscription, as a message and as controls.
pub(super) fn filter(
    allow: Vec<Several<String>>,
    deny: Vec<Several<String>>,
) -> Result<(TelemetryEventFilter, Controls), UsageError> {
    let mut names: Vec<String> = Vec::new();
    let mut globs = |all| {
        let globs = Several::flatten(all).map(|Given { value, origin }| {
            if !names.iter().any(|name| name == origin.name()) {
                names.push(origin.name().to_owned());
            }
            value
        });
        globs.collect::<Vec<String>>()
    };
    let (allow, deny) = (globs(allow), globs(deny));
    let count = allow.len() + deny.len();
    let control = Control::Filter { allow: allow.clone(), deny: deny.clone() };
    let controls = Controls::default().changed(control).map_err(|refused| {
        let PatternLimits { count: most, wildcards, .. } = PatternLimits::DEFAULT;
        let cause = match refused {
            Refused::TooManyPatterns => format!("{count} globs together, at most {most} are allowed"),
            Refused::TooManyWildcards => format!("at most {wildcards} wildcards together are allowed"),
            _ => "longer than a filter may be".to_owned(),
        };
        format!("{}: {cause}", names.join(", "))
    })?;
    Ok((TelemetryEventFilter { allow, deny }, controls))
}
