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

// Bounds, from runs on MNIST and on eight Gaussians that were let go well or badly (learning rate times 50, a critic
// without its bound, no unrolling where it is needed), read every 50 steps.

/// Share of a run, and steps, before which likeness and modes say nothing: generators start with samples alike. Runs
/// that went well had correlations above 0.8 up to step 950 of 3000 (ring) and 750 of 1500 (DCGAN without norms).
const EARLY: (f64, f64) = (0.4, 2_000.0);
/// Correlation of samples that are alike. Late in runs: -0.01 to 0.3 where it went well, 0.76 to 0.98 (half of the
/// readings above 0.91) on one mode of the ring, 0.99 and more with 50 times the rate.
const ALIKE: f64 = 0.85;
/// Coupling by batch norms; 0.02 to 0.12 in a DCGAN that went well.
const COUPLED: f64 = 0.5;
/// Norms of gradients of judges and of the others that are large. Ganhacks (10) says 100 for all; where it went well the
/// judge of a narrow DCGAN had up to 280, and a CycleGAN's generators 121 at first. A Wasserstein critic without bound
/// came to 390 and its generator to 1720 within 2000 steps, with 20 times the rate to 22,000 and 270,000.
const LARGE: (f64, f64) = (1_000.0, 250.0);
/// Shares of reals and of fakes told right by a judge whose generator has nothing to go by: with 50 times the rate the
/// generator's gradient was 0, fakes were all told, and 80 to 95 % of the reals.
const LOST: (f64, f64) = (0.75, 0.99);
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
                        all.push((format!("nearest.{net}"), cover.nearest as f64));
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
        let above = |name: String, bound: f64| value(&name).is_some_and(|v| v > bound);
        let sure = |j: &&str| above(format!("real.{j}"), LOST.0) && above(format!("fake.{j}"), LOST.1);
        let perfect: Vec<&str> = judges.iter().copied().filter(sure).collect();
        // Early on nothing has been learned yet.
        let late = step as f64 >= (EARLY.0 * steps as f64).min(EARLY.1);
        for (name, v) in readings {
            let (kind, of) = name.split_once('.').unwrap_or((name, ""));
            match kind {
                "gradient" => {
                    let largest = self.largest.entry(name.clone()).or_insert(0.0);
                    *largest = largest.max(*v);
                    let small = *v < 1e-3 * *largest || *v < 1e-6;
                    let bound = if judges.contains(&of) { LARGE.0 } else { LARGE.1 };
                    case(*v > bound, format!("explodes {of}"), &|| {
                        format!(
                            "the gradient of player `{of}` has norm {v:.0}; runs that go well stay below {bound}. {}",
                            remedies(
                                &["gradient_clip(1)", "gradient_penalty"],
                                "`with spectral_norm` on the judge"
                            )
                        )
                    });
                    let vanishes = small && !perfect.is_empty() && !judges.contains(&of);
                    case(vanishes, format!("vanishes {of}"), &|| {
                        format!(
                            "the gradient of player `{of}` vanishes (norm {v:.1e}) while `{}` tells all fake samples from real \
                             ones (Goodfellow et al. 2014, section 3). {}",
                            perfect[0],
                            remedies(
                                &["one_sided_label_smoothing(real: 0.9)", "instance_noise(sigma: 0.1)"],
                                "`loss non_saturating` instead of `minimax`"
                            )
                        )
                    });
                }
                "correlation" => case(late && *v > ALIKE, format!("alike {of}"), &|| {
                    format!(
                        "the samples of `{of}` resemble each other: their correlation within a batch is {v:.2}, that of data is \
                         0. {}",
                        remedies(&["unrolled(steps: 5)", "pack(2)"], "a `minibatch_stddev` layer in the judge")
                    )
                }),
                "coupling" => case(late && *v > COUPLED, format!("coupled {of}"), &|| {
                    format!(
                        "a sample of `{of}` moves by {:.0} % of the samples' spread when the others of its batch change: batch \
                         norm couples them (Salimans et al. 2016, section 3.5). {}",
                        100.0 * v,
                        remedies(&["virtual_batch_norm(G)"], "a larger batch, or `instance_norm`")
                    )
                }),
                // Of few samples of high quality the covered modes say little; where samples are says more: of 8 modes,
                // late, 8 with unrolling or clipped weights, 1 and 2 without, 3 and 4 of a critic without bound.
                "nearest" => {
                    let few = late && *v <= modes as f64 / 2.0;
                    case(few, format!("collapsed {of}"), &|| {
                        format!(
                            "all samples of `{of}` are near {v:.0} of {modes} modes. {}",
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
        let bad = [("gradient.D", 2500.0), ("real.D", 0.6), ("fake.D", 0.7)];
        assert!(say(&mut w, 10, &bad).is_empty());
        assert!(say(&mut w, 20, &bad).is_empty());
        // A good reading between bad ones begins anew.
        assert!(say(&mut w, 30, &[("gradient.D", 3.0)]).is_empty());
        say(&mut w, 40, &bad);
        say(&mut w, 50, &bad);
        let said = say(&mut w, 60, &bad);
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("player `D` has norm 2500") && said[0].contains("gradient_clip"), "{said:?}");
        assert!(say(&mut w, 70, &bad).is_empty());
    }

    #[test]
    fn each_failure_has_its_words() {
        let cases: [(&[(&str, f64)], &str); 6] = [
            (&[("correlation.G", 0.95)], "resemble each other"),
            (&[("coupling.G", 0.7)], "moves by 70 %"),
            (&[("modes.G", 1.0), ("nearest.G", 2.0), ("quality.G", 0.02)], "near 2 of 8 modes"),
            (
                &[("gradient.G", 1e-8), ("real.D", 1.0), ("fake.D", 1.0)],
                "`D` tells all fake samples from real ones",
            ),
            (&[("gradient.G", 0.0), ("real.D", 0.81), ("fake.D", 1.0)], "vanishes"),
            (&[("gradient.G", 300.0)], "has norm 300;"),
        ];
        for (readings, words) in cases {
            let mut w = Watcher::new(1);
            let said: Vec<String> = (0..4).flat_map(|i| say(&mut w, 500 + i, readings)).collect();
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].contains(words), "{said:?}");
        }
        let fine: [&[(&str, f64)]; 5] = [
            &[("correlation.G", 0.1), ("coupling.G", 0.1), ("modes.G", 7.0), ("quality.G", 0.9)],
            // Points all around that hit few modes are no collapse.
            &[("modes.G", 1.0), ("nearest.G", 8.0), ("quality.G", 0.01)],
            // Large, as in runs that end well.
            &[("gradient.D", 280.0), ("gradient.G", 121.0), ("real.D", 0.8), ("fake.D", 0.9)],
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
        assert!((1..9).all(|i| say(&mut w, 40 * i, &[("correlation.G", 0.99)]).is_empty()));
    }
}
