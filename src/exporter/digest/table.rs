//! Operations and measurements as tables.

use super::{Digest, Measurement, OTHER, Operation};
use crate::{
    system::visible::one_line,
    terminal::{
        number::{grouped, measured, rate, seconds, short, with_unit_of},
        screen::Screen,
        sparkline::sparkline,
        table::{Column, Table},
    },
};
use ratatui::{
    style::Stylize as _,
    text::{Line, Span},
};
use std::cmp::Reverse;

/// The order of operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Where the time went, the largest sum first; operations without durations follow by their counts.
    #[default]
    Time,
    /// The most frequent first.
    Count,
    /// The most errors first.
    Errors,
    /// The slowest 95th percentile first.
    Slowest,
    /// By name.
    Name,
}

impl Order {
    /// The operations of a digest. Equal ones are in the order of their names.
    pub fn sorted(self, digest: &Digest) -> Vec<&Operation> {
        let mut operations: Vec<_> = digest.operations().iter().collect();
        operations.sort_by(|one, other| one.name.cmp(&other.name));
        let count = |operation: &&Operation| Reverse(operation.count());
        match self {
            Self::Name => {}
            Self::Count => operations.sort_by_key(count),
            Self::Errors => operations.sort_by_key(|operation| (Reverse(operation.errors), count(operation))),
            Self::Time | Self::Slowest => {
                operations.sort_by_key(count);
                let key = |operation: &Operation| match self {
                    Self::Slowest => operation.durations.quantile(0.95).unwrap_or(-1.0),
                    _ => operation.durations.sum(),
                };
                operations.sort_by(|one, other| key(other).total_cmp(&key(one)));
            }
        }
        operations
    }
}

/// Both tables of a digest with an empty line between them. `rate` is how often an operation ends each
/// second, if that is known.
pub fn digest(
    digest: &Digest,
    order: Order,
    rate: impl Fn(&Operation) -> Option<f64>,
    screen: &Screen,
) -> Vec<Line<'static>> {
    let rows = order.sorted(digest).into_iter().chain(digest.other());
    let operations = operations(rows.map(|operation| (operation, rate(operation))));
    let mut lines = if operations.is_empty() { Vec::new() } else { operations.lines(screen) };
    let measurements = measurements(digest.measurements(), digest.other_values(), screen);
    if !measurements.is_empty() {
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        lines.extend(measurements.lines(screen));
    }
    lines
}

/// Operations with the rates at which they end, if known.
pub fn operations<'a>(rows: impl IntoIterator<Item = (&'a Operation, Option<f64>)>) -> Table {
    let mut table = Table::new([
        Column::text("OPERATION").cut_to(16),
        Column::number("COUNT"),
        Column::number("IN FLIGHT").dropped(5),
        Column::number("RATE").dropped(2),
        Column::number("ERRORS"),
        Column::number("P50").dropped(3),
        Column::number("P95"),
        Column::number("P99").dropped(4),
        Column::number("TOTAL").dropped(1),
    ]);
    for (operation, per_second) in rows {
        let quantile =
            |ratio| Span::from(operation.durations.quantile(ratio).map(seconds).unwrap_or_default());
        let has_durations = operation.durations.count() > 0;
        let (errors, in_flight) = (operation.errors, operation.in_flight());
        table.row([
            one_line(&operation.name).into(),
            short(operation.count()).into(),
            if in_flight > 0 { short(in_flight).into() } else { Span::default() },
            per_second.map(rate).unwrap_or_default().into(),
            if errors > 0 { Span::from(short(errors)).red() } else { Span::default() },
            quantile(0.5),
            quantile(0.95),
            quantile(0.99),
            if has_durations { seconds(operation.durations.sum()).into() } else { Span::default() },
        ]);
    }
    table
}

/// A value of the measurement with this key, with the unit that the key names.
pub fn measured_of(key: &str, value: f64) -> String {
    with_unit_of(key, value).unwrap_or_else(|| measured(value))
}

/// Measurements with their operations. `other_values` have no row of their own.
pub fn measurements<'a>(
    rows: impl IntoIterator<Item = (&'a Operation, &'a Measurement)>,
    other_values: u64,
    screen: &Screen,
) -> Table {
    let mut table = Table::new([
        Column::text("MEASUREMENT").cut_to(16).keeps_end(),
        Column::number("COUNT").dropped(3),
        Column::number("FIRST").dropped(1),
        Column::number("LAST"),
        Column::number("MIN").dropped(4),
        Column::number("MAX").dropped(4),
        Column::text("COURSE").dropped(2),
    ]);
    let course_width = match screen.width {
        Some(..60) => 8,
        Some(..100) => 16,
        Some(..120) => 24,
        _ => 32,
    };
    for (operation, measurement) in rows {
        let number = |value: f64| Span::from(measured_of(&measurement.key, value));
        let course = sparkline(&measurement.course.points(), course_width, screen.charset);
        table.row([
            one_line(&format!("{}.{}", operation.name, measurement.key)).into(),
            short(measurement.count).into(),
            number(measurement.first),
            number(measurement.last),
            number(measurement.min),
            number(measurement.max),
            Span::from(course).cyan(),
        ]);
    }
    if other_values > 0 {
        table.row([OTHER.to_owned(), grouped(other_values)]);
    }
    table
}
