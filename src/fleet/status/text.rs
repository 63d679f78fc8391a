//! The accounting of a sidecar for people.

use super::Answered;
use crate::{
    status::account::{Topic, topics},
    system::visible::one_line,
    terminal::{number, screen::Screen},
};
use ratatui::{
    style::Stylize as _,
    text::{Line, Span},
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The indentation below a sidecar's heading.
const INDENT: usize = 2;

/// Text is not broken into shorter parts than this.
const MIN_TEXT_WIDTH: usize = 20;

/// The heading and the topics.
pub(super) fn lines(answered: &Answered, screen: &Screen) -> Vec<Line<'static>> {
    let Answered { sidecar, address, status } = answered;
    let addresses = match sidecar {
        Some(sidecar) => sidecar
            .grpc_listeners(Some(status))
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        None => address.to_string(),
    };
    let mut heading = vec![Span::from(format!("sidecar {}", status.pid)).bold()];
    heading.extend(sidecar.as_ref().map(|sidecar| Span::from(format!("  {}", sidecar.command))));
    let mut described = vec![topic("at", one_line(&addresses))];
    described.extend(uptime(answered).map(|uptime| topic("up", number::uptime(uptime))));
    described.push(topic("version", one_line(&status.version)));
    let (problems, others): (Vec<_>, Vec<_>) = topics(status).into_iter().partition(|topic| topic.is_problem);
    let all: Vec<_> = problems.into_iter().chain(described).chain(others).collect();
    let name_width = all.iter().map(|topic| topic.name.chars().count()).max().unwrap_or(0);
    let start = INDENT + name_width + 2;
    let width = screen.width.map_or(usize::MAX, |width| width.saturating_sub(start).max(MIN_TEXT_WIDTH));
    let mut lines = vec![Line::from(heading)];
    for topic in &all {
        for (at, part) in wrapped(&topic.text, width).into_iter().enumerate() {
            let name = if at == 0 { topic.name.as_str() } else { "" };
            let line = format!("{:INDENT$}{name:name_width$}  {part}", "");
            lines.push(if topic.is_problem { Line::from(line).red() } else { Line::from(line) });
        }
    }
    lines
}

fn topic(name: &str, text: String) -> Topic {
    Topic { name: name.into(), text, is_problem: false }
}

/// How long the sidecar has been running: the clocks of two hosts may differ.
fn uptime(answered: &Answered) -> Option<Duration> {
    if let Some(sidecar) = &answered.sidecar {
        return Some(sidecar.uptime());
    }
    let started = UNIX_EPOCH.checked_add(Duration::from_nanos(answered.status.start_time_unix_nano))?;
    SystemTime::now().duration_since(started).ok().filter(|_| started > UNIX_EPOCH)
}

/// A text in lines of at most this many characters, as far as its words allow it.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_broken_between_words() {
        assert_eq!(wrapped("9 offered = 8 delivered", 12), ["9 offered =", "8 delivered"]);
        assert_eq!(wrapped("unix:/a/very/long/path x", 8), ["unix:/a/very/long/path", "x"]);
        assert_eq!(wrapped("", 8), [""]);
    }
}
