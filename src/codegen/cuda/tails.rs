//! Kernels that differ in nothing but what their last blocks do with the sums, as running statistics and the scales of a
//! batch normalisation are: one kernel that is told which of these tails to do.
//!
//! A convolution's kernel takes NVRTC half a second, its tail a hundredth of that, and fusion puts into a tail whatever small
//! maps are ready by then: other ones in the first step of a discriminator than in its last.

use super::emit::{Emit, NAME};
use super::{Arg, KERNEL};
use std::collections::BTreeMap;

/// Stand in a kernel's text for the functions of its tails, for their parameters, which are the last of the kernel, and for
/// the call with the index `c`.
pub(super) const FUNCTIONS: &str = "$TAIL_FUNCTIONS\n";
pub(super) const PARAMETERS: &str = "$TAIL_PARAMETERS";
pub(super) const CALL: &str = "$TAIL_CALL;";

/// The name of a tail's function, in its text.
pub(super) const AFTER: &str = "$NAME_after";

/// A tail, or nothing if it has no pointers.
#[derive(Default)]
pub(super) struct Tail {
    /// A device function [`AFTER`] of its pointers and an index.
    pub text: String,
    /// Types of the pointers.
    pub types: Vec<String>,
    /// What stands for them.
    pub args: Vec<Arg>,
}

/// A kernel and its tails.
struct Open {
    /// The number of its text.
    at: usize,
    text: String,
    /// Arguments before those of a tail.
    before: usize,
    /// Texts, and types of pointers.
    tails: Vec<(String, Vec<String>)>,
}

/// Kernels with tails, by their names.
#[derive(Default)]
pub(super) struct Tails(BTreeMap<String, Open>);

impl Emit<'_> {
    /// As [`Emit::kernel`], with a tail; gives the arguments of a launch for it besides, which follow the others.
    pub(super) fn kernel_with_tail(
        &mut self,
        what: &str,
        text: String,
        parameters: &[String],
        tail: Tail,
    ) -> (String, Vec<Arg>) {
        let before = parameters.len() - 1;
        if self.stages_only() {
            // A stage has one tail: what stages do is told apart by their texts.
            let all = [&parameters[..before], &numbered(&tail.types)].concat();
            let own = Open { at: 0, text, before, tails: vec![(tail.text, tail.types)] };
            return (self.kernel(what, own.close(), &all), tail.args);
        }
        let name = self.kernel(what, text.clone(), parameters);
        let new = Open { at: self.texts.len().saturating_sub(1), text, before, tails: vec![] };
        let open = self.tails.0.entry(name.clone()).or_insert(new);
        let own = (tail.text, tail.types);
        let which = open.tails.iter().position(|t| *t == own).unwrap_or_else(|| {
            open.tails.push(own);
            open.tails.len() - 1
        });
        (name, [vec![Arg::U32(which as u32)], tail.args].concat())
    }

    /// Fills in the texts of kernels with tails, and the arguments of their launches, once all are known.
    pub(super) fn close_tails(&mut self) {
        let tails = std::mem::take(&mut self.tails);
        for (name, open) in &tails.0 {
            self.texts[open.at] = format!("{KERNEL}{name}\n{}", open.close().replace(NAME, name));
        }
        for mut launch in self.take_launches() {
            if let Some(open) = tails.0.get(&launch.kernel) {
                open.settle(&mut launch.args);
            }
            self.push_launch(launch);
        }
    }
}

/// Parameters of a tail's pointers.
fn numbered(types: &[String]) -> Vec<String> {
    types.iter().enumerate().map(|(i, ty)| format!("{ty} n{i}")).collect()
}

impl Open {
    /// Pointers of the tail that has most.
    fn most(&self) -> usize {
        self.tails.iter().map(|t| t.1.len()).max().unwrap_or(0)
    }

    /// The kernel's text.
    fn close(&self) -> String {
        if let [(text, types)] = self.tails.as_slice() {
            let given: Vec<String> = (0..types.len()).map(|i| format!("n{i}")).collect();
            return self.fill(text, &numbered(types), &format!("{AFTER}({}, c);", given.join(", ")));
        }
        let mut parameters = vec!["unsigned tail".to_string()];
        parameters.extend((0..self.most()).map(|i| format!("void* n{i}")));
        let (mut functions, mut calls) = (String::new(), vec![]);
        for (k, (text, types)) in self.tails.iter().enumerate().filter(|(_, t)| !t.1.is_empty()) {
            functions.push_str(&text.replace(AFTER, &format!("{AFTER}{k}")));
            let given: String = types.iter().enumerate().map(|(i, ty)| format!("({ty})n{i}, ")).collect();
            calls.push(format!("if (tail == {k}) {AFTER}{k}({given}c);"));
        }
        self.fill(&functions, &parameters, &format!("{{\n      {}\n    }}", calls.join("\n      else ")))
    }

    fn fill(&self, functions: &str, parameters: &[String], call: &str) -> String {
        let mut text = self.text.replace(FUNCTIONS, functions);
        if parameters.is_empty() {
            text = text.split_inclusive('\n').filter(|line| !line.contains(CALL)).collect();
        }
        let parameters: String = parameters.iter().map(|p| format!(",\n    {p}")).collect();
        text.replace(&format!(",\n    {PARAMETERS}"), &parameters).replace(CALL, call)
    }

    /// Arguments of a launch as all tails together need them.
    fn settle(&self, args: &mut Vec<Arg>) {
        if self.tails.len() == 1 {
            args.remove(self.before);
        } else {
            // What a tail does not use is any address.
            let any = args[0];
            args.resize(self.before + 1 + self.most(), any);
        }
    }
}
