//! Counts instructions: this program runs itself under valgrind's callgrind.
//!
//! The emulated processor is the same everywhere, so counts vary by less than one in a thousand. They depend
//! on the compiler, on the release profile, and slightly on the C library's `memcpy`.

use super::{Failure, Shape, WAYS};
use std::process::Command;

/// A run with this many lines is subtracted from one with twice as many, so that the start does not count.
const COUNTED_LINES: usize = 4096;

/// Instructions a line: a row for each shape, a column for each way.
pub fn count_all() -> Result<Vec<[f64; 3]>, Failure> {
    let mut table = Vec::new();
    for shape in Shape::ALL {
        let mut row = [0.0; 3];
        for ((way, _), cell) in WAYS.iter().zip(&mut row) {
            *cell = count(shape, way)?;
        }
        table.push(row);
    }
    Ok(table)
}

/// Counts the shapes that a file names, prints the counts, and fails if one is above its ceiling.
pub fn check_ceilings(path: &str) -> Result<(), Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let mut above = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, ceiling) =
            line.split_once(' ').ok_or_else(|| format!("{path}: no ceiling in '{line}'"))?;
        let shape = Shape::named(name)?;
        let ceiling: f64 = ceiling.trim().parse().map_err(|error| format!("{path}: '{line}': {error}"))?;
        let counted = count(shape, WAYS[0].0)?;
        let title = shape.title();
        println!("{title:32} {counted:6.0} instructions a line, ceiling {ceiling:6.0}");
        if counted > ceiling {
            above.push(format!("{title}: {counted:.0} instructions a line, {path} allows {ceiling:.0}"));
        }
    }
    if above.is_empty() { Ok(()) } else { Err(above.join("; ").into()) }
}

/// Instructions a line.
fn count(shape: Shape, way: &str) -> Result<f64, Failure> {
    // As many lines as there are shapes at least.
    let lines = COUNTED_LINES * if shape == Shape::Unseen { 2 } else { 1 };
    Ok((run(shape, way, 2 * lines)? - run(shape, way, lines)?) / lines as f64)
}

/// All instructions of this program for this many lines, including its start.
fn run(shape: Shape, way: &str, lines: usize) -> Result<f64, Failure> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["--repeat", &format!("{shape:?}"), way, &lines.to_string()])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.split_once("Collected :").ok_or_else(|| format!("valgrind: {text}"))?.1;
    Ok(collected.split_whitespace().next().unwrap_or_default().parse()?)
}
