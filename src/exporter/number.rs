//! Numbers of events. Integers stay integers, so that no digit is lost above 2^53.

use crate::event::view::Value;

/// A number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// An integer.
    Int(i64),
    /// Any double.
    Float(f64),
}

impl Number {
    /// A measurement, if it is a number.
    pub fn measured(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Int(int) => Some(Self::Int(int)),
            Value::Float(float) => Some(Self::Float(float)),
            Value::Null | Value::Text(_) => None,
        }
    }

    /// The nearest double.
    #[allow(clippy::cast_precision_loss, reason = "what takes doubles only has no more digits")]
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Int(int) => int as f64,
            Self::Float(float) => float,
        }
    }

    /// The sum: an integer if both are and it fits, else a double.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let int = match (self, other) {
            (Self::Int(one), Self::Int(other)) => one.checked_add(other),
            _ => None,
        };
        int.map_or_else(|| Self::Float(self.as_f64() + other.as_f64()), Self::Int)
    }

    /// A later value of the same series: a double once there was one, so that the type of a series changes at
    /// most once.
    #[must_use]
    pub fn followed_by(self, later: Self) -> Self {
        match self {
            Self::Int(_) => later,
            Self::Float(_) => Self::Float(later.as_f64()),
        }
    }
}

impl From<f64> for Number {
    fn from(float: f64) -> Self {
        Self::Float(float)
    }
}

impl From<u64> for Number {
    #[allow(clippy::cast_precision_loss, reason = "only beyond 2^63")]
    fn from(count: u64) -> Self {
        i64::try_from(count).map_or(Self::Float(count as f64), Self::Int)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_of_integers_is_exact_until_it_does_not_fit() {
        let large = Number::Int(1 << 53);
        assert_eq!(large.plus(Number::Int(1)), Number::Int((1 << 53) + 1));
        assert_eq!(large.plus(Number::Float(1.5)), Number::Float(9_007_199_254_740_994.0));
        assert_eq!(Number::Int(i64::MAX).plus(Number::Int(1)), Number::Float(9_223_372_036_854_775_808.0));
        assert_eq!(Number::Float(0.5).plus(Number::Int(1)), Number::Float(1.5));
    }

    #[test]
    fn a_series_with_a_double_keeps_doubles() {
        assert_eq!(Number::Int(1).followed_by(Number::Int(2)), Number::Int(2));
        assert_eq!(Number::Int(1).followed_by(Number::Float(2.0)), Number::Float(2.0));
        assert_eq!(Number::Float(1.0).followed_by(Number::Int(2)), Number::Float(2.0));
    }

    #[test]
    fn counts_beyond_an_integer_are_doubles() {
        assert_eq!(Number::from(7_u64), Number::Int(7));
        assert_eq!(Number::from(u64::MAX), Number::Float(18_446_744_073_709_551_616.0));
    }
}
