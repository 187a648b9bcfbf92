//! A page for each trick and each layer that is one: what it is, who wrote of it, what goes wrong with it.
//!
//! The texts are data, a file a phase in `pages/`, and one for layers:
//!
//! ```text
//! === gradient_penalty
//! paper: …
//! spec: points                    the example: points.txt or pictures.txt
//! base loss: wasserstein          a slot of the example, with the trick and without it
//! put trick: trick gradient_penalty(lambda: 1)      a slot that is filled with the trick only
//!
//! # definition
//! …
//! ```
//!
//! Slots of the examples are written `@{name|what stands there otherwise}`; a line of which an empty slot is all that
//! there is goes away.

use crate::layers::{Class, Signature, table};

/// A page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Name of the trick or layer.
    pub name: &'static str,
    /// Who wrote of it.
    pub paper: &'static str,
    /// The example's text, with slots.
    example: &'static str,
    /// Slots that are filled in either case.
    base: Vec<(&'static str, &'static str)>,
    /// Slots that are filled with the trick.
    put: Vec<(&'static str, &'static str)>,
    /// Titles and texts in order.
    pub sections: Vec<(&'static str, String)>,
}

const FILES: [&str; 9] = [
    include_str!("pages/targets.txt"),
    include_str!("pages/inputs.txt"),
    include_str!("pages/opponents.txt"),
    include_str!("pages/statistics.txt"),
    include_str!("pages/terms.txt"),
    include_str!("pages/unrolling.txt"),
    include_str!("pages/optimisers.txt"),
    include_str!("pages/actions.txt"),
    include_str!("pages/layers.txt"),
];

/// Examples that pages name.
const EXAMPLES: [(&str, &str); 2] =
    [("points", include_str!("pages/points.txt")), ("pictures", include_str!("pages/pictures.txt"))];

/// Layers, functions and modifiers that are tricks of the trade.
pub const LAYERS: [(Class, &str); 9] = [
    (Class::Layer, "virtual_batch_norm"),
    (Class::Layer, "minibatch_discrimination"),
    (Class::Function, "minibatch_stddev"),
    (Class::Layer, "instance_norm"),
    (Class::Modifier, "spectral_norm"),
    (Class::Modifier, "weight_norm"),
    (Class::Modifier, "equalized"),
    (Class::Layer, "noise"),
    (Class::Layer, "dropout"),
];

/// The signature of a layer of [`LAYERS`].
pub fn layer(name: &str) -> Option<&'static Signature> {
    let (class, name) = LAYERS.iter().find(|l| l.1 == name)?;
    table::lookup(*class, name)
}

/// All pages in the order of the files.
pub fn all() -> impl Iterator<Item = Page> {
    FILES.into_iter().flat_map(|f| f.split("=== ").skip(1).map(page))
}

/// The page of a trick or layer.
pub fn find(name: &str) -> Option<Page> {
    all().find(|p| p.name == name)
}

fn page(text: &'static str) -> Page {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let mut page = Page { name: lines.next().unwrap_or_default(), ..Page::default() };
    for line in lines {
        // Only white space after `: ` is the text's own: ` with spectral_norm` begins with a space.
        let (key, value) = line.split_once(": ").unwrap_or((line, ""));
        match key.split_once(' ') {
            Some(("base", slot)) => page.base.push((slot, value)),
            Some(("put", slot)) => page.put.push((slot, value)),
            _ if key == "paper" => page.paper = value,
            _ => page.example = EXAMPLES.iter().find(|e| e.0 == value).map_or("", |e| e.1),
        }
    }
    for section in body.split("# ").skip(1) {
        let (title, text) = section.split_once('\n').unwrap_or((section, ""));
        page.sections.push((title, text.trim_end().to_string()));
    }
    page
}

impl Page {
    /// The example spec, with the trick or without it.
    pub fn spec(&self, with: bool) -> String {
        let mut slots = self.base.clone();
        if with {
            slots.extend(&self.put);
        }
        let mut out: Vec<String> = Vec::new();
        for line in self.example.lines() {
            let Some((before, rest)) = line.split_once("@{") else {
                out.push(line.to_string());
                continue;
            };
            let (slot, after) = rest.split_once('}').unwrap_or((rest, ""));
            let (name, otherwise) = slot.split_once('|').unwrap_or((slot, ""));
            let text = slots.iter().find(|s| s.0 == name).map_or(otherwise, |s| s.1);
            let line = format!("{before}{text}{after}");
            if !line.trim().is_empty() {
                out.push(line);
            } else if out.last().is_some_and(String::is_empty) {
                // The empty lines around an empty slot become one.
                out.pop();
            }
        }
        out.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tricks::TRICKS;
    use std::collections::BTreeSet;

    #[test]
    fn each_trick_and_each_layer_has_one_whole_page() {
        let wanted: BTreeSet<&str> = TRICKS.iter().map(|t| t.name).chain(LAYERS.iter().map(|l| l.1)).collect();
        let names: Vec<&str> = all().map(|p| p.name).collect();
        assert_eq!(names.iter().copied().collect::<BTreeSet<_>>(), wanted);
        assert_eq!(names.len(), wanted.len(), "a page is there twice");
        for (class, name) in LAYERS {
            assert!(table::lookup(class, name).is_some(), "{name}");
        }
        for p in all() {
            let titles: Vec<&str> = p.sections.iter().map(|s| s.0).collect();
            assert_eq!(titles, ["definition", "composes with", "refuses", "mistakes"], "{}", p.name);
            assert!(p.sections.iter().all(|s| s.1.len() > 5), "{}", p.name);
            assert!(!p.paper.is_empty() && !p.put.is_empty(), "{}", p.name);
            let widest = p.sections.iter().flat_map(|s| s.1.lines()).map(|l| l.chars().count()).max();
            assert!(widest.is_some_and(|w| w <= 110), "{}: a line of {widest:?} characters", p.name);
            let (with, without) = (p.spec(true), p.spec(false));
            assert!(with != without && !with.contains("@{"), "{}\n{with}", p.name);
            assert!(with.contains(p.name), "{}: the example does not use it", p.name);
            for (slot, _) in p.base.iter().chain(&p.put) {
                assert!(p.example.contains(&format!("@{{{slot}|")), "{}: no slot `{slot}`", p.name);
            }
        }
    }

    #[test]
    fn empty_slots_leave_no_trace() {
        let plain = find("ema").map(|p| p.spec(false)).unwrap_or_default();
        assert!(!plain.contains("\n\n\n") && plain.contains("loss non_saturating\n"), "{plain}");
        assert!(plain.contains("beta1: 0.5) }\n\n    every"), "{plain}");
    }
}
