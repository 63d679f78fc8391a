//! The names of families: what they mean to the first worker that has them, they mean on the whole page, as
//! long as a worker or what ended workers have counted has them.

use super::family::Family;
use crate::exporter::metrics::sample::Kind;
use std::collections::{BTreeMap, HashSet};

/// How many families the page may have. A sidecar has a thousand metrics at most.
const MAX_FAMILIES: usize = 10_000;

/// The families that workers have had, in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Kind and help.
    families: BTreeMap<String, (Kind, String)>,
    /// The names of families and of their samples.
    taken: HashSet<String>,
}

impl Names {
    /// Whether the family of a page can be on the page of all workers: its name is new, or of the same kind.
    pub(super) fn learn(&mut self, family: &Family) -> bool {
        let Family { name, kind, help, .. } = family;
        if let Some((known, _)) = self.families.get(name) {
            return known == kind;
        }
        let claims = claims(name, *kind);
        let is_free = !name.starts_with(super::page::OWN_PREFIX)
            && self.families.len() < MAX_FAMILIES
            && !claims.iter().any(|claim| self.taken.contains(claim));
        if is_free {
            self.taken.extend(claims);
            self.families.insert(name.clone(), (*kind, help.clone()));
        }
        is_free
    }

    /// Forgets a family that is not on the page any more, so that its name can mean something else.
    pub(super) fn forget(&mut self, name: &str) {
        if let Some((kind, _)) = self.families.remove(name) {
            for claim in claims(name, kind) {
                self.taken.remove(&claim);
            }
        }
    }

    /// Name, kind and help of each.
    pub(super) fn families(&self) -> impl Iterator<Item = (&str, Kind, &str)> {
        self.families.iter().map(|(name, (kind, help))| (name.as_str(), *kind, help.as_str()))
    }
}

/// The names of a family and of its samples.
fn claims(name: &str, kind: Kind) -> Vec<String> {
    let suffixes: &[&str] = if kind == Kind::Histogram { &["", "_bucket", "_count", "_sum"] } else { &[""] };
    suffixes.iter().map(|suffix| format!("{name}{suffix}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_kind_of_a_name_stays_and_samples_have_names_too() {
        let mut names = Names::default();
        let mut learn = |name: &str, kind| {
            let family = Family { name: name.into(), kind, help: format!("{name} help"), series: Vec::new() };
            names.learn(&family)
        };
        assert!(
            learn("b", Kind::Histogram) && learn("a_total", Kind::Counter) && learn("c_count", Kind::Gauge)
        );
        assert!(learn("b", Kind::Histogram) && !learn("b", Kind::Gauge) && !learn("a_total", Kind::Gauge));
        assert!(!learn("b_count", Kind::Gauge) && !learn("c", Kind::Histogram) && learn("c", Kind::Gauge));
        assert!(!learn("telemetry_sidecar_gather_x", Kind::Gauge));
        names.forget("b");
        let family =
            Family { name: "b_count".into(), kind: Kind::Gauge, help: String::new(), series: vec![] };
        assert!(names.learn(&family));
        names.forget("b_count");
        let family = Family { name: "b".into(), kind: Kind::Histogram, ..family };
        assert!(names.learn(&family));
        let families: Vec<_> = names.families().map(|(name, ..)| name).collect();
        assert_eq!(families, ["a_total", "b", "c", "c_count"]);
    }
}
