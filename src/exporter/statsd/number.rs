//! Writes numbers as all servers parse them: without an exponent, and with the fewest digits that identify
//! the double.

use std::fmt::Write as _;

/// Beyond this an integer of millionths may have more digits than every double can tell apart.
const MAX_MILLIONTHS: f64 = 1e15;

/// Decimals of a number of millionths.
const DECIMALS: usize = 6;

/// The most digits of an integer of 64 bits.
const MAX_DIGITS: usize = 20;

/// Appends a finite number that is not a negative zero.
pub fn write(text: &mut String, value: f64) {
    // Of the decimal numbers with up to 15 digits no two are the same double. So a double that is the nearest
    // one to such a number has its digits and no fewer. Most values are: they were printed, or divided by a
    // power of ten.
    let millionths = (value * 1e6).round();
    #[allow(clippy::float_cmp, reason = "it has to be the same double")]
    if millionths.abs() < MAX_MILLIONTHS && millionths / 1e6 == value {
        write_millionths(text, millionths);
    } else {
        // Writing to a String does not fail.
        let _ = write!(text, "{value}");
    }
}

#[allow(clippy::cast_possible_truncation, reason = "an integer of at most 15 digits")]
fn write_millionths(text: &mut String, millionths: f64) {
    let millionths = millionths as i64;
    if millionths < 0 {
        text.push('-');
    }
    let millionths = millionths.unsigned_abs();
    let (mut whole, mut fraction) = (millionths / 1_000_000, millionths % 1_000_000);
    let (mut digits, mut count) = ([b'0'; MAX_DIGITS], 0);
    for digit in digits.iter_mut().rev() {
        *digit = last_digit(&mut whole);
        count += 1;
        if whole == 0 {
            break;
        }
    }
    push_digits(text, digits.get(MAX_DIGITS - count..));
    if fraction > 0 {
        let (mut digits, mut used) = ([b'0'; DECIMALS], DECIMALS);
        for digit in digits.iter_mut().rev() {
            *digit = last_digit(&mut fraction);
        }
        while digits.get(used - 1) == Some(&b'0') {
            used -= 1;
        }
        text.push('.');
        push_digits(text, digits.get(..used));
    }
}

/// Takes the last digit off a number.
fn last_digit(number: &mut u64) -> u8 {
    let [digit, ..] = (*number % 10).to_le_bytes();
    *number /= 10;
    b'0' + digit
}

fn push_digits(text: &mut String, digits: Option<&[u8]>) {
    text.push_str(digits.and_then(|digits| str::from_utf8(digits).ok()).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{num::f64::NORMAL, prelude::*, test_runner::Config};

    fn written(value: f64) -> String {
        let mut text = String::new();
        write(&mut text, value);
        text
    }

    proptest! {
        #![proptest_config(Config { failure_persistence: None, cases: 2000, ..Config::default() })]

        #[test]
        fn numbers_are_written_as_the_standard_library_writes_them(
            any in NORMAL,
            int: i64,
            exponent in -20..20_i32,
            digits in 0..18_u32,
        ) {
            let short = int % 10_i64.pow(digits);
            #[allow(clippy::cast_precision_loss, reason = "any double")]
            let short = short as f64;
            let near = [short / 1e6, short / 1e3, short, short * 10_f64.powi(exponent)];
            let near = near.into_iter().flat_map(|near| [near, near.next_up(), near.next_down()]);
            for value in near.chain([any]) {
                let value = value + 0.0;
                prop_assert_eq!(written(value), value.to_string());
            }
        }
    }

    #[test]
    fn the_smallest_and_the_largest_numbers_have_all_their_digits() {
        for value in
            [0.0, 1e-6, -1e-6, 1e-7, 0.1 + 0.2, 999_999_999.999_999, 1e15, f64::MAX, f64::MIN_POSITIVE]
        {
            assert_eq!(written(value), value.to_string());
        }
    }
}
