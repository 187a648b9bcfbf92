//! Monitors: readings of a run now and then, and what the literature advises when they look bad.

use crate::build::program::Watch;
use crate::data::Dataset;
use crate::graph::{HostTensor, Name};
use crate::layers::{Class, table};
use crate::metrics;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Readings in a row that look bad before something is said: single ones are noise.
const STREAK: u32 = 3;
/// Iterations between readings unless the user says otherwise.
pub const DEFAULT_EVERY: u64 = 100;

/// Names such as `gradient.G` with their values.
pub type Readings = Vec<(String, f64)>;

/// Readings of a run and what was said about them.
#[derive(Debug)]
pub struct Watcher {
    every: u64,
    streaks: BTreeMap<String, u32>,
    largest: BTreeMap<String, f64>,
    said: BTreeSet<String>,
}

impl Watcher {
    /// Reads each `every` iterations; 0: never.
    pub fn new(every: u64) -> Self {
        Self { every, streaks: BTreeMap::new(), largest: BTreeMap::new(), said: BTreeSet::new() }
    }

    /// Whether an iteration is read.
    pub fn due(&self, step: u64) -> bool {
        self.every > 0 && step.is_multiple_of(self.every)
    }

    /// Names and values of what a watch's graph gave.
    ///
    /// # Errors
    /// Samples that do not fit the modes of their data.
    pub fn read(
        watch: &Watch,
        outputs: &[(Name, HostTensor)],
        data: &[Arc<Dataset>],
    ) -> Result<Readings, metrics::MetricError> {
        let mut all = Vec::new();
        for (name, t) in outputs {
            match watch.modes.iter().find(|m| m.0 == *name) {
                None => all.push((name.to_string(), t.to_f64().first().copied().unwrap_or(f64::NAN))),
                Some((_, set)) => {
                    if let Some(modes) = &data[*set].schema().modes {
                        let cover = metrics::mode_coverage(t, modes)?;
                        let net = name.split_once('.').map_or(&**name, |n| n.1);
                        all.push((format!("modes.{net}"), cover.modes as f64));
                        all.push((format!("quality.{net}"), cover.hq));
                    }
                }
            }
        }
        Ok(all)
    }

    /// What is worth saying about a reading in iteration `step` of `steps`, each thing once a run.
    pub fn judge(&mut self, steps: u64, step: u64, readings: &[(String, f64)], modes: usize) -> Vec<String> {
        let value = |name: &str| readings.iter().find(|r| r.0 == name).map(|r| r.1);
        let mut found: Vec<(String, String)> = Vec::new();
        let mut fine: Vec<String> = Vec::new();
        let mut case = |bad: bool, key: String, text: &dyn Fn() -> String| {
            if bad {
                found.push((key, text()));
            } else {
                fine.push(key);
            }
        };
        let judges: Vec<&str> = readings.iter().filter_map(|r| r.0.strip_prefix("real.")).collect();
        let perfect: Vec<&str> = judges
            .iter()
            .copied()
            .filter(|j| {
                [value(&format!("real.{j}")), value(&format!("fake.{j}"))]
                    .iter()
                    .all(|v| v.is_some_and(|v| v > 0.99))
            })
            .collect();
        // Early on nothing has been learned yet.
        let late = step >= (steps / 10).min(2_000);
        for (name, v) in readings {
            let (kind, of) = name.split_once('.').unwrap_or((name, ""));
            match kind {
                "gradient" => {
                    let largest = self.largest.entry(name.clone()).or_insert(0.0);
                    *largest = largest.max(*v);
                    let small = *v < 1e-3 * *largest || *v < 1e-6;
                    case(*v > 100.0, format!("explodes {of}"), &|| {
                        format!(
                            "the gradient of player `{of}` has norm {v:.0}; above 100 training goes astray (ganhacks 10). {}",
                            remedies(
                                &["gradient_clip(1)", "gradient_penalty"],
                                "`with spectral_norm` on the judge"
                            )
                        )
                    });
                    let vanishes = small && !perfect.is_empty() && !judges.contains(&of);
                    case(vanishes, format!("vanishes {of}"), &|| {
                        format!(
                            "the gradient of player `{of}` vanishes (norm {v:.1e}) while `{}` tells all real and fake samples \
                             apart (Goodfellow et al. 2014, section 3). {}",
                            perfect[0],
                            remedies(
                                &["one_sided_label_smoothing(real: 0.9)", "instance_noise(sigma: 0.1)"],
                                "`loss non_saturating` instead of `minimax`"
                            )
                        )
                    });
                }
                "correlation" => case(late && *v > 0.8, format!("alike {of}"), &|| {
                    format!(
                        "the samples of `{of}` resemble each other: their correlation within a batch is {v:.2}, that of data is \
                         0. {}",
                        remedies(&["unrolled(steps: 5)", "pack(2)"], "a `minibatch_stddev` layer in the judge")
                    )
                }),
                "coupling" => case(late && *v > 0.5, format!("coupled {of}"), &|| {
                    format!(
                        "a sample of `{of}` moves by {:.0} % of the samples' spread when the others of its batch change: batch \
                         norm couples them (Salimans et al. 2016, section 3.5). {}",
                        100.0 * v,
                        remedies(&["virtual_batch_norm(G)"], "a larger batch, or `instance_norm`")
                    )
                }),
                "modes" => {
                    let quality = value(&format!("quality.{of}")).unwrap_or(0.0);
                    let few = late && quality > 0.2 && *v <= modes as f64 / 2.0;
                    case(few, format!("collapsed {of}"), &|| {
                        format!(
                            "`{of}` covers {v:.0} of {modes} modes. {}",
                            remedies(&["unrolled(steps: 5)", "pack(2)"], "a `minibatch_stddev` layer in the judge")
                        )
                    });
                }
                _ => {}
            }
        }
        for key in fine {
            self.streaks.remove(&key);
        }
        let mut said = Vec::new();
        for (key, text) in found {
            let streak = self.streaks.entry(key.clone()).or_insert(0);
            *streak += 1;
            if *streak >= STREAK && self.said.insert(key) {
                said.push(text);
            }
        }
        said
    }
}

/// What helps: the tricks that this version has, and something else.
fn remedies(tricks: &[&str], other: &str) -> String {
    let name = |t: &str| t.split('(').next().unwrap_or(t).to_string();
    let has = |t: &&&str| table::lookup(Class::Trick, &name(t)).is_some_and(|s| s.available);
    let mut all: Vec<String> = tricks.iter().filter(has).map(|t| format!("`trick {t}`")).collect();
    all.push(other.to_string());
    format!("What helped others: {}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(w: &mut Watcher, step: u64, readings: &[(&str, f64)]) -> Vec<String> {
        let readings: Readings = readings.iter().map(|(n, v)| (n.to_string(), *v)).collect();
        w.judge(1_000, step, &readings, 8)
    }

    #[test]
    fn said_once_after_a_streak() {
        let mut w = Watcher::new(10);
        assert!(w.due(20) && !w.due(21) && !Watcher::new(0).due(20));
        let bad = [("gradient.D", 250.0)];
        assert!(say(&mut w, 10, &bad).is_empty());
        assert!(say(&mut w, 20, &bad).is_empty());
        // A good reading between bad ones begins anew.
        assert!(say(&mut w, 30, &[("gradient.D", 3.0)]).is_empty());
        say(&mut w, 40, &bad);
        say(&mut w, 50, &bad);
        let said = say(&mut w, 60, &bad);
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("player `D` has norm 250") && said[0].contains("gradient_clip"), "{said:?}");
        assert!(say(&mut w, 70, &bad).is_empty());
    }

    #[test]
    fn each_failure_has_its_words() {
        let cases: [(&[(&str, f64)], &str); 4] = [
            (&[("correlation.G", 0.95)], "resemble each other"),
            (&[("coupling.G", 0.7)], "moves by 70 %"),
            (&[("modes.G", 2.0), ("quality.G", 0.9)], "covers 2 of 8 modes"),
            (
                &[("gradient.G", 1e-8), ("real.D", 1.0), ("fake.D", 1.0)],
                "`D` tells all real and fake samples apart",
            ),
        ];
        for (readings, words) in cases {
            let mut w = Watcher::new(1);
            let said: Vec<String> = (0..4).flat_map(|i| say(&mut w, 500 + i, readings)).collect();
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].contains(words), "{said:?}");
        }
        let fine: [&[(&str, f64)]; 4] = [
            &[("correlation.G", 0.1), ("coupling.G", 0.1), ("modes.G", 7.0), ("quality.G", 0.9)],
            // Points that are nowhere near a mode are no collapse yet.
            &[("modes.G", 1.0), ("quality.G", 0.01)],
            // A small gradient while the judge errs is convergence.
            &[("gradient.G", 1e-8), ("real.D", 0.6), ("fake.D", 0.5)],
            &[("gradient.D", 1e-8), ("real.D", 1.0), ("fake.D", 1.0)],
        ];
        for readings in fine {
            let mut w = Watcher::new(1);
            let said: Vec<String> = (0..5).flat_map(|i| say(&mut w, 500 + i, readings)).collect();
            assert!(said.is_empty(), "{said:?}");
        }
        // Too early to say.
        let mut w = Watcher::new(1);
        assert!((1..9).all(|i| say(&mut w, i, &[("correlation.G", 0.99)]).is_empty()));
    }
}
