//! Buckets, as compared with indexes that are computed without a logarithm.

use super::*;
use proptest::{collection::vec, prelude::*, test_runner::Config};
use std::collections::BTreeMap;

/// The index of a number's bucket: each squaring of the significand yields a bit of its logarithm. Numbers
/// with 62 bits after the point are precise enough for 20 squarings.
fn reference(value: f64, scale: i32) -> i32 {
    const ONE: u128 = 1 << 62;
    let mut value = value.abs();
    let mut exponent = 0;
    while value >= 2.0 {
        (value, exponent) = (value / 2.0, exponent + 1);
    }
    while value < 1.0 {
        (value, exponent) = (value * 2.0, exponent - 1);
    }
    let mut significand = u128::from(value.to_bits() & ((1 << 52) - 1) | 1 << 52) * (ONE >> 52);
    let is_bound = significand == ONE;
    let mut index = exponent;
    for _ in 0..scale {
        significand = (significand * significand) >> 62;
        let bit = i32::from(significand >= 2 * ONE);
        significand >>= bit;
        index = 2 * index + bit;
    }
    (index - i32::from(is_bound)) >> (-scale).max(0)
}

fn filled(values: &[f64]) -> Exponential {
    let mut histogram = Exponential::default();
    for value in values {
        histogram.add(*value, None);
    }
    histogram
}

#[test]
fn powers_of_two_are_upper_bounds_at_every_scale() {
    for scale in -4..=MAX_SCALE {
        for exponent in -1074..=1023_i32 {
            let bits =
                if exponent >= -1022 { i64::from(exponent + 1023) << 52 } else { 1 << (exponent + 1074) };
            let power = f64::from_bits(bits.cast_unsigned());
            let last = if scale > 0 { (exponent << scale) - 1 } else { (exponent - 1) >> -scale };
            assert_eq!(index(power, scale), last, "2^{exponent} at scale {scale}");
            assert!(scale < 0 || index(power.next_up(), scale) > last, "above 2^{exponent} at scale {scale}");
        }
        for exponent in [-1022, -1, 0, 1, 1023_i32] {
            let power = 2_f64.powi(exponent);
            for beside in [power.next_down(), power.next_up()] {
                assert_eq!(index(beside, scale), reference(beside, scale), "{beside:e} at scale {scale}");
            }
        }
    }
}

#[test]
fn the_scale_is_lowered_when_samples_do_not_fit() {
    let one = filled(&[1.5]);
    assert_eq!((one.scale, &one.positive.counts[..]), (MAX_SCALE, &[1][..]));
    let all = filled(&[f64::MIN_POSITIVE, f64::from_bits(1), 1.0, f64::MAX, -1.0, 0.0, -0.0]);
    assert_eq!((all.scale, all.zeros, all.count()), (-4, 2, 7));
    assert_eq!(all.negative, Buckets { offset: -1, counts: vec![1] });
    assert_eq!((all.min, all.max), (-1.0, f64::MAX));
    // 160 buckets at scale 3: twenty powers of two.
    let fits = filled(&[2_f64.powi(20), 1.0001]);
    assert_eq!((fits.scale, fits.positive.offset, fits.positive.counts.len()), (3, 0, 160));
    assert_eq!(filled(&[2_f64.powi(20), 1.0]).scale, 2);
}

#[test]
fn exemplars_are_the_latest_of_each_power_of_two() {
    let mut histogram = Exponential::default();
    let exemplar = |value| Exemplar { value, timestamp_ns: 0, trace_id: [1; 16], span_id: [2; 8] };
    for value in [1.1, 1000.0, 1.2, -7.0, 0.0, 1.3] {
        histogram.add(value, Some(exemplar(value)));
    }
    let mut values: Vec<_> = histogram.exemplars().map(|exemplar| exemplar.value).collect();
    values.sort_by(f64::total_cmp);
    assert_eq!(values, [-7.0, 0.0, 1.3, 1000.0]);
    for exponent in 0..1000 {
        histogram.add(2_f64.powi(exponent), Some(exemplar(1.0)));
    }
    assert_eq!(histogram.exemplars().count(), 20);
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        0.001..1000.0_f64,
        any::<f64>().prop_filter("finite", |value| value.is_finite()),
        (-20..20_i32).prop_map(|exponent| 2_f64.powi(exponent)),
        (-1000..1000_i32).prop_map(f64::from),
    ]
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn samples_are_in_the_buckets_of_the_largest_scale_that_fits(values in vec(value(), 1..200)) {
        let histogram = filled(&values);
        let of_sign = |is_positive| {
            let signed = values.iter().filter(|value| **value != 0.0 && (**value > 0.0) == is_positive);
            signed.map(|value| reference(*value, MAX_SCALE)).collect::<Vec<_>>()
        };
        let (positive, negative) = (of_sign(true), of_sign(false));
        let indexes = |is_positive, scale: i32| {
            let indexes = if is_positive { &positive } else { &negative };
            indexes.iter().map(move |index| index >> (MAX_SCALE - scale))
        };
        let fits = |scale| [true, false].into_iter().all(|is_positive| {
            let (low, high) = (indexes(is_positive, scale).min(), indexes(is_positive, scale).max());
            low.zip(high).is_none_or(|(low, high): (i32, i32)| high.abs_diff(low) < MAX_BUCKETS)
        });
        let scale = (-10..=MAX_SCALE).rev().find(|scale| fits(*scale)).unwrap();
        prop_assert_eq!(histogram.scale, scale);
        for (is_positive, buckets) in [(true, &histogram.positive), (false, &histogram.negative)] {
            let mut expected = BTreeMap::new();
            indexes(is_positive, scale).for_each(|index| *expected.entry(index).or_insert(0) += 1);
            let filled = (buckets.offset..).zip(buckets.counts.iter().copied());
            let filled: BTreeMap<i32, u64> = filled.filter(|(_, count)| *count > 0).collect();
            prop_assert_eq!(filled, expected);
            prop_assert!(buckets.counts.len() <= MAX_BUCKETS as usize);
        }
        prop_assert_eq!(histogram.count(), values.len() as u64);
        prop_assert_eq!(histogram.zeros, values.iter().filter(|value| **value == 0.0).count() as u64);
    }
}
