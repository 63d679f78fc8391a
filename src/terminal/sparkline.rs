//! The course of a number in one line.

use super::screen::Charset;

/// From the lowest to the highest level.
pub const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII: [char; 5] = ['_', '.', '-', '=', '^'];

/// The values from the lowest to the highest level, in at most `width` characters: of more values each
/// character is the mean of neighbours. A value that is not finite is a space. A constant course is a line
/// at half height.
pub fn sparkline(values: &[f64], width: usize, charset: Charset) -> String {
    let means = means(values, width);
    let finite = || means.iter().copied().filter(|mean| mean.is_finite());
    let range = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    means.iter().map(|mean| level(*mean, range, 0.5, charset)).collect()
}

/// Rates or counts as bars from 0 to the highest value, in at most `width` characters as in [`sparkline`].
pub fn bars(values: &[f64], width: usize, charset: Charset) -> String {
    let means = means(values, width);
    let highest = means.iter().copied().filter(|mean| mean.is_finite()).fold(0.0, f64::max);
    means.iter().map(|mean| level(*mean, (0.0, highest), 0.0, charset)).collect()
}

/// Exactly `width` values, if there are any: means of neighbours, or each value repeated.
pub fn fitted(values: &[f64], width: usize) -> Vec<f64> {
    if values.len() >= width {
        return means(values, width);
    }
    (0..width).filter_map(|column| values.get(column * values.len() / width).copied()).collect()
}

fn means(values: &[f64], width: usize) -> Vec<f64> {
    let columns = width.min(values.len());
    let part = |column| values.get(column * values.len() / columns..(column + 1) * values.len() / columns);
    (0..columns).map(|column| mean(part(column).unwrap_or_default())).collect()
}

/// The character of a value in a range. If that is a single number, all have the height `constant`.
fn level(value: f64, (lowest, highest): (f64, f64), constant: f64, charset: Charset) -> char {
    let levels: &[char] = match charset {
        Charset::Unicode => &BLOCKS,
        Charset::Ascii => &ASCII,
    };
    if !value.is_finite() {
        return ' ';
    }
    // Halves, because the range of the largest doubles is infinite.
    let range = highest / 2.0 - lowest / 2.0;
    let height = if range > 0.0 { (value / 2.0 - lowest / 2.0) / range } else { constant };
    #[allow(clippy::cast_precision_loss, reason = "there are eight levels at most")]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the last level")]
    let index = (height * (levels.len() - 1) as f64).round() as usize;
    levels.get(index).copied().unwrap_or(' ')
}

/// The mean of the finite ones; NaN if there are none. Rounding
/// does not take it out of their range: the mean of equal values is that value.
fn mean(values: &[f64]) -> f64 {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    #[allow(clippy::cast_precision_loss, reason = "it is a small number")]
    let count = finite().count() as f64;
    let (min, max) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    if count == 0.0 { f64::NAN } else { finite().map(|value| value / count).sum::<f64>().clamp(min, max) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unicode(values: &[f64], width: usize) -> String {
        sparkline(values, width, Charset::Unicode)
    }

    #[test]
    fn the_lowest_and_the_highest_value_have_the_outer_levels() {
        assert_eq!(unicode(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 20), "▁▂▃▄▅▆▇█");
        assert_eq!(unicode(&[f64::MIN, 0.0, f64::MAX], 20), "▁▅█");
        assert_eq!(sparkline(&[1.0, 2.0, 3.0], 20, Charset::Ascii), "_-^");
    }

    #[test]
    fn neighbours_share_a_character_if_there_is_no_room() {
        assert_eq!(unicode(&[0.0, 2.0, 3.0, 3.0, 7.0, 9.0], 3), "▁▃█");
        assert_eq!(unicode(&[1.0, 2.0], 0), "");
    }

    #[test]
    fn constants_and_gaps() {
        assert_eq!(unicode(&[5.0, 5.0], 9), "▅▅");
        assert_eq!(unicode(&[0.0001; 1000], 9), "▅▅▅▅▅▅▅▅▅");
        assert_eq!(unicode(&[1.0, f64::NAN, 2.0, f64::INFINITY], 9), "▁ █ ");
        assert_eq!(unicode(&[f64::NAN], 9), " ");
        assert_eq!(unicode(&[], 9), "");
    }

    #[test]
    fn bars_start_at_zero() {
        let bars = |values: &[f64]| bars(values, 4, Charset::Unicode);
        assert_eq!(bars(&[0.0, 40.0, 39.0, 40.0]), "▁███");
        assert_eq!(bars(&[8.0, 4.0, f64::NAN]), "█▅ ");
        assert_eq!(bars(&[0.0, 0.0]), "▁▁");
        assert_eq!(bars(&[40.0; 3]), "███");
    }
}
