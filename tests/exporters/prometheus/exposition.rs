//! A parser of metrics pages that is stricter than the formats: duplicate series and families out of order
//! are errors.

use std::collections::{BTreeMap, BTreeSet};

/// A result, or a description of the error.
pub type Checked<T> = Result<T, String>;

/// A parsed sample line.
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
    exemplar: Option<&'a str>,
}

impl<'a> Sample<'a> {
    fn labels_without_le(&self) -> Vec<(&'a str, String)> {
        self.labels.iter().filter(|(label, _)| *label != "le").cloned().collect()
    }

    /// The identity of a series in Prometheus: labels in any order, without empty ones.
    fn identity(&self) -> (String, BTreeMap<String, String>) {
        let labels = self.labels.iter().filter(|(_, value)| !value.is_empty());
        (self.name.into(), labels.map(|(label, value)| ((*label).to_owned(), value.clone())).collect())
    }
}

/// The values of all series by name and labels, such as `up{job="x"}`, without the times of their creation;
/// `open_metrics` selects the format.
pub fn read(page: &str, open_metrics: bool) -> Checked<BTreeMap<String, f64>> {
    let lines = page.strip_suffix('\n').ok_or("no newline at the end")?;
    let lines = if open_metrics { lines.strip_suffix("\n# EOF").ok_or("no # EOF")? } else { lines };
    let mut lines = lines.split('\n').peekable();
    let (mut series, mut identities) = (BTreeMap::new(), BTreeSet::new());
    let (mut claimed, mut last) = (BTreeSet::new(), String::new());
    while let Some(help) = lines.next() {
        let help = help.strip_prefix("# HELP ").ok_or_else(|| format!("no HELP: {help}"))?;
        let (full_name, text) = help.split_once(' ').ok_or("HELP of nothing")?;
        unescape(text, if open_metrics { "\\n\"" } else { "\\n" })?;
        let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE ")?.strip_prefix(full_name));
        let kind = kind.ok_or_else(|| format!("{full_name}: no TYPE"))?.trim_start();
        let name = match kind {
            "counter" if !open_metrics => {
                full_name.strip_suffix("_total").ok_or("a counter without _total")?
            }
            _ => full_name,
        };
        ensure(is_name(name), || format!("not a name: {name:?}"))?;
        ensure(last.as_str() < name, || format!("{name} after {last}"))?;
        name.clone_into(&mut last);
        let suffixes: &[&str] = match kind {
            "counter" => &["", "_total", "_created"],
            "gauge" => &[""],
            "histogram" => &["", "_bucket", "_count", "_sum", "_created"],
            _ => return Err(format!("{name}: {kind}")),
        };
        for suffix in suffixes {
            let claim = format!("{name}{suffix}");
            ensure(claimed.insert(claim.clone()), || format!("{claim} twice"))?;
        }
        let mut samples: Vec<Sample<'_>> = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let sample = sample(line).map_err(|error| format!("{error}: {line}"))?;
            if kind != "gauge" && sample.name == format!("{name}_created") {
                ensure(open_metrics && sample.value > 0.0, || format!("not a time: {line}"))?;
                let before = samples.last().ok_or_else(|| format!("created before it is: {line}"))?;
                ensure(before.labels_without_le() == sample.labels, || format!("of another series: {line}"))?;
                ensure(identities.insert(sample.identity()), || format!("twice: {line}"))?;
                continue;
            }
            ensure(sample.exemplar.is_none() || (open_metrics && sample.name.ends_with("_bucket")), || {
                format!("no place for an exemplar: {line}")
            })?;
            let key = line.split_once(" # {").map_or(line, |(line, _)| line).rsplit_once(' ').unwrap().0;
            series.insert(key.to_owned(), sample.value);
            ensure(identities.insert(sample.identity()), || format!("twice: {line}"))?;
            samples.push(sample);
        }
        ensure(!samples.is_empty(), || format!("{name}: no series"))?;
        match kind {
            "histogram" => histogram(name, &samples)?,
            _ => single_values(name, kind, &samples)?,
        }
    }
    Ok(series)
}

fn single_values(name: &str, kind: &str, samples: &[Sample<'_>]) -> Checked<()> {
    let expected = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
    for sample in samples {
        ensure(sample.name == expected, || format!("{} in {name}", sample.name))?;
        ensure(kind != "counter" || sample.value >= 0.0, || {
            format!("{name}: a counter of {}", sample.value)
        })?;
        ensure(sample.labels.iter().all(|(label, _)| *label != "le"), || format!("{name}: le"))?;
    }
    Ok(())
}

/// Each series consists of buckets in ascending order up to `+Inf`, then count and sum, or neither.
fn histogram(name: &str, samples: &[Sample<'_>]) -> Checked<()> {
    let mut samples = samples.iter().peekable();
    while let Some(first) = samples.peek() {
        let labels = first.labels_without_le();
        let (mut bound, mut count) = (f64::NEG_INFINITY, 0.0);
        while bound < f64::INFINITY {
            let bucket = samples.next().filter(|sample| sample.name == format!("{name}_bucket"));
            let bucket = bucket.ok_or_else(|| format!("{name}: no bucket after {bound}"))?;
            let (le, rest) = bucket.labels.split_last().ok_or("a bucket without le")?;
            ensure(le.0 == "le" && rest == labels, || {
                format!("{name}: {:?} among {labels:?}", bucket.labels)
            })?;
            let upper = number(&le.1)?;
            ensure(bound < upper && count <= bucket.value && bucket.value.fract() == 0.0, || {
                format!("{name}: bucket {upper} {} after {bound} {count}", bucket.value)
            })?;
            if let Some(exemplar) = bucket.exemplar {
                check_exemplar(exemplar, bound, upper)?;
            }
            (bound, count) = (upper, bucket.value);
        }
        if samples.peek().is_some_and(|sample| sample.name == format!("{name}_count")) {
            let (total, sum) = (samples.next().unwrap(), samples.next().ok_or("no sum")?);
            ensure(total.labels == labels && sum.labels == labels, || format!("{name}: other labels"))?;
            ensure(sum.name == format!("{name}_sum") && sum.value >= 0.0, || format!("{name}: no sum"))?;
            ensure(total.value == count, || format!("{name}: count {} of {count}", total.value))?;
        }
    }
    Ok(())
}

/// `trace_id="…",…} VALUE [TIMESTAMP]`
fn check_exemplar(exemplar: &str, lower: f64, upper: f64) -> Checked<()> {
    let (labels, rest) = labels(exemplar)?;
    let length: usize = labels.iter().map(|(label, value)| label.len() + value.chars().count()).sum();
    ensure((1..=128).contains(&length), || format!("{length} characters in an exemplar"))?;
    let mut numbers = rest.trim_start().split(' ').map(number);
    let value = numbers.next().ok_or("an exemplar without value")??;
    ensure(lower < value && value <= upper, || format!("{value} in the bucket of {upper}"))?;
    numbers.try_for_each(|number| number.map(drop))
}

fn sample(line: &str) -> Checked<Sample<'_>> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, rest) = line.split_at(end);
    ensure(is_name(name), || format!("not a name: {name:?}"))?;
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let rest = rest.strip_prefix(' ').ok_or("no space")?;
    let (value, exemplar) = match rest.split_once(" # {") {
        Some((value, exemplar)) => (value, Some(exemplar)),
        None => (rest, None),
    };
    Ok(Sample { name, labels, value: number(value)?, exemplar })
}

/// Parses labels up to `}`; returns them and the rest.
fn labels(mut rest: &str) -> Checked<(Vec<(&str, String)>, &str)> {
    let mut labels: Vec<(&str, String)> = Vec::new();
    loop {
        let (label, value) = rest.split_once("=\"").ok_or("no label")?;
        let is_label = is_name(label) && !label.contains(':') && !label.starts_with("__");
        ensure(is_label && label != "quantile", || format!("not a label: {label:?}"))?;
        ensure(labels.iter().all(|(other, _)| *other != label), || format!("{label} twice"))?;
        let mut escaped = false;
        let end = value.find(|c| {
            let quote = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            quote
        });
        let (value, after) = value.split_at(end.ok_or("no quote")?);
        let value = unescape(value, "\\n\"")?;
        labels.push((label, value));
        match after.get(1..2) {
            Some(",") => rest = &after[2..],
            Some("}") => return Ok((labels, &after[2..])),
            _ => return Err("neither comma nor brace".into()),
        }
    }
}

fn unescape(text: &str, allowed: &str) -> Checked<String> {
    let (mut plain, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        let escape = if c == '\\' { Some(chars.next().ok_or("a backslash at the end")?) } else { None };
        ensure(escape.is_none_or(|c| allowed.contains(c)), || format!("an escape that is none: {text:?}"))?;
        plain.push(escape.map_or(c, |c| if c == 'n' { '\n' } else { c }));
    }
    Ok(plain)
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn number(text: &str) -> Checked<f64> {
    match text {
        "NaN" => Ok(f64::NAN),
        "+Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        _ if text.bytes().all(|byte| b"0123456789+-.e".contains(&byte)) => {
            text.parse().map_err(|_| format!("not a number: {text}"))
        }
        _ => Err(format!("not a number: {text}")),
    }
}

fn ensure(condition: bool, what: impl FnOnce() -> String) -> Checked<()> {
    if condition { Ok(()) } else { Err(what()) }
}
