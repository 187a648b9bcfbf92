//! `ganc tricks` as a user reads it.

use crate::cli_bad::Case;
use ganc::tricks::{TRICKS, pages};

#[test]
fn the_list_names_every_trick_and_layer() {
    let said = Case::new().ok(&["tricks"]);
    for name in TRICKS.iter().map(|t| t.name).chain(pages::LAYERS.iter().map(|l| l.1)) {
        assert!(said.lines().any(|l| l.split_whitespace().next() == Some(name)), "{name}\n{said}");
    }
}

#[test]
fn a_page_shows_what_the_compiler_makes_of_a_trick() {
    let c = Case::new();
    let said = c.ok(&["tricks", "gradient_penalty"]);
    for part in [
        "trick gradient_penalty(lambda = 10, every?, one_sided = false, of?)",
        "+     trick gradient_penalty(lambda: 1)",
        "One t for each pixel",
        "Gulrajani",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    // The expansion is the compiler's: the penalty's line is marked as new, the line of the weight too.
    let core = said.split("IN THE CORE LANGUAGE").nth(1).expect("an expansion");
    let added: Vec<&str> = core.lines().filter(|l| l.trim_start().starts_with("+ ")).collect();
    assert!(added.iter().any(|l| l.contains("grad(") && l.contains("minimize")), "{core}");
    assert!(added.iter().any(|l| l.contains("uniform(0, 1)")), "{core}");
    let flops = core.lines().find(|l| l.trim_start().starts_with("MFLOP")).expect("costs");
    let factor: f64 = flops.split_whitespace().last().and_then(|f| f.parse().ok()).expect("a factor");
    assert!(factor > 1.1, "a second gradient is not free: {flops}");
}

#[test]
fn names_that_are_none() {
    let c = Case::new();
    c.refused(&["tricks", "gradient_penalti"], "did you mean `gradient_penalty`?");
    c.refused(&["tricks", "xyzzy"], "`ganc tricks` lists them all");
}
