//! One measurement on the whole screen: its numbers, and its course from the oldest value to the newest.

use super::{
    super::{pane::Pane, tables::measurement_name, view::View, worker::Worker},
    rows::of_worker,
    title,
};
use crate::{
    exporter::digest::{Digest, Measurement, table::measured_of},
    system::visible::one_line,
    terminal::{
        number::short,
        screen::{Charset, Screen},
        sparkline::{BLOCKS, fitted},
    },
};
use ratatui::{
    Frame,
    layout::Rect,
    style::Stylize as _,
    text::{Line, Span},
};

/// Draws the measurement that is selected.
pub(super) fn chart(
    frame: &mut Frame,
    digest: &Digest,
    worker: Option<&Worker>,
    view: &View,
    screen: &Screen,
    area: Rect,
) {
    let key = view.pane(Pane::Measurements).selected_key();
    let mut rows = digest.measurements();
    let row = key.and_then(|key| rows.find(|row| measurement_name(row) == key));
    let name = row.as_ref().map(measurement_name).unwrap_or_default();
    let note = format!("{} {}", one_line(&name), of_worker(worker));
    title(frame, Pane::Measurements, &note, view, screen, Rect { height: 1, ..area });
    let Some((_, measurement)) = row else { return };
    let number = |value: f64| measured_of(&measurement.key, value);
    let numbers = [
        ("count", short(measurement.count)),
        ("first", number(measurement.first)),
        ("last", number(measurement.last)),
        ("min", number(measurement.min)),
        ("max", number(measurement.max)),
    ];
    let spans = numbers
        .into_iter()
        .flat_map(|(what, text)| [Span::from(format!("  {what} ")), Span::from(text).bold()]);
    frame.render_widget(spans.collect::<Line>(), Rect { y: area.y + 1, height: 1, ..area });
    let labels = (number(measurement.max), number(measurement.min));
    let left = labels.0.chars().count().max(labels.1.chars().count()) + 3;
    // An empty line is between the numbers and the chart.
    let (width, height) = (usize::from(area.width).saturating_sub(left + 1), area.height.saturating_sub(3));
    let lines = columns(measurement, width, usize::from(height), screen.charset);
    for ((at, line), y) in lines.into_iter().enumerate().zip(area.y + 3..) {
        let label = match at {
            0 => labels.0.as_str(),
            _ if at + 1 == usize::from(height) => labels.1.as_str(),
            _ => "",
        };
        let label = Span::from(format!("{label:>width$} ", width = left - 1)).dim();
        frame.render_widget(Line::from(vec![label, Span::from(line).cyan()]), Rect { y, height: 1, ..area });
    }
}

/// The lines of a chart of this size, from the largest value at the top to the smallest one at the bottom.
fn columns(measurement: &Measurement, width: usize, height: usize, charset: Charset) -> Vec<String> {
    let (steps, low, high) = (height * BLOCKS.len(), measurement.min, measurement.max);
    let level = |value: f64| {
        if !value.is_finite() {
            return 0;
        }
        // Halves, because the range of the largest doubles is infinite.
        let range = high / 2.0 - low / 2.0;
        let ratio = if range > 0.0 { (value / 2.0 - low / 2.0) / range } else { 0.5 };
        #[allow(clippy::cast_precision_loss, reason = "a screen has few rows")]
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts saturate")]
        let level = (ratio * steps.saturating_sub(1) as f64).round() as usize + 1;
        level.min(steps)
    };
    let levels: Vec<_> = fitted(&measurement.course.points(), width).into_iter().map(level).collect();
    let cell = |level: usize, below: usize| match (level.saturating_sub(below * BLOCKS.len()), charset) {
        (0, _) => ' ',
        // Half a cell is one, and the lowest value is seen, too.
        (part, Charset::Ascii) => {
            if part >= BLOCKS.len() / 2 || below == 0 {
                '#'
            } else {
                ' '
            }
        }
        (part, Charset::Unicode) => BLOCKS.get(part.min(BLOCKS.len()) - 1).copied().unwrap_or(' '),
    };
    (0..height).rev().map(|below| levels.iter().map(|level| cell(*level, below)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{
            proto::bridge::{TelemetryEvent, TelemetryValue, telemetry_value::Value},
            view::View,
        },
        exporter::digest::Limits,
    };

    fn lines(values: &[f64], width: usize, height: usize, charset: Charset) -> Vec<String> {
        let mut digest = Digest::new(Limits::default());
        for value in values {
            let value = TelemetryValue { value: Some(Value::FloatValue(*value)) };
            let event_parts = vec!["a".to_owned()];
            let measurements = [("x".to_owned(), value)].into();
            let event = TelemetryEvent { event_parts, measurements, ..TelemetryEvent::default() };
            digest.add(&View::from(&event));
        }
        let (_, measurement) = digest.measurements().next().unwrap();
        columns(measurement, width, height, charset)
    }

    #[test]
    fn the_range_fills_the_height_and_the_course_the_width() {
        assert_eq!(lines(&[0.0, 15.0], 4, 2, Charset::Unicode), ["  ██", "▁▁██"]);
        assert_eq!(lines(&[0.0, 7.0, 8.0, 15.0], 4, 2, Charset::Unicode), ["  ▁█", "▁███"]);
        assert_eq!(lines(&[0.0, 15.0], 4, 2, Charset::Ascii), ["  ##", "####"]);
    }

    #[test]
    fn constants_gaps_and_no_room() {
        assert_eq!(lines(&[5.0; 3], 3, 2, Charset::Unicode), ["▁▁▁", "███"]);
        assert_eq!(lines(&[f64::NAN], 2, 1, Charset::Unicode), ["  "]);
        assert!(lines(&[1.0], 0, 1, Charset::Unicode).concat().is_empty());
        assert!(lines(&[1.0], 5, 0, Charset::Unicode).is_empty());
        assert_eq!(lines(&[f64::MIN, f64::MAX], 2, 1, Charset::Unicode), ["▁█"]);
    }
}
