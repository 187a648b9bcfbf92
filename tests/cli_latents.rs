//! Contact sheets, arithmetic on latents and ways between them, as a user runs them.

use crate::cli_bad::{Case, RING};
use crate::support::repo;
use std::fs;

/// A generator that takes a label, and a classifier with named outputs, both hardly trained.
fn spec() -> String {
    let file = |name: &str| repo(&format!("tests/train/{name}")).display().to_string();
    let (images, labels) = (file("digits8x8-images.gz"), file("digits8x8-labels.gz"));
    format!(
        "data digits = idx(\"{images}\", labels: \"{labels}\") |> scale(-1, 1)\n\
         generator G(z: [4], label: class(10)) -> [1, 8, 8] {{\n\
             it = concat(z, embed(label, 4))\n linear(64) with init(normal(0, 1))\n reshape(1, 8, 8)\n tanh\n\
         }}\n\
         network C(x: [1, 8, 8]) -> (even: [2], big: [1]) {{\n\
             flatten\n out even = it |> linear(2)\n out big = it |> linear(1)\n\
         }}\n\
         train {{ batch 16; steps 2; seed 1\n\
             draw z: [4] ~ normal\n draw real, label ~ digits.image, digits.label\n\
             player C {{ minimize mean(C(real).even ^ 2) + mean(C(real).big ^ 2); using sgd(lr: 1e-4) }}\n\
             player G {{ minimize mean(G(z, label) ^ 2); using sgd(lr: 1e-4) }}\n\
         }}\n"
    )
}

fn trained() -> Case {
    let c = Case::new();
    c.write("a.gan", spec());
    c.ok(&["run", "a.gan", "--out", "r", "--quiet"]);
    c
}

/// A square of 88 pixels: a picture of 8 x 8, eleven times as large.
fn cut(c: &Case, name: &str, x: u32, y: u32) -> Vec<u8> {
    let picture = image::open(c.path(name)).expect("a PNG").to_rgb8();
    image::imageops::crop_imm(&picture, x, y, 88, 88).to_image().into_raw()
}

#[test]
fn numbers_of_a_sheet_mean_the_same_ever_after() {
    let c = trained();
    let said = c.ok(&["sample", "r", "--sheet", "-n", "16", "--seed", "3"]);
    assert!(said.contains("sheet.png") && said.contains("ganc arith r"), "{said}");
    let read = |name: &str| fs::read(c.path(name)).expect("a file");
    let (picture, latents) = (read("r/sheet.png"), read("r/sheet.safetensors"));
    c.ok(&["sample", "r", "--sheet", "-n", "16", "--seed", "3"]);
    assert!(read("r/sheet.png") == picture && read("r/sheet.safetensors") == latents, "bytes differ");
    // A larger sheet begins with the same samples; another place keeps its own latents.
    c.ok(&["sample", "r", "--sheet", "-n", "25", "--seed", "3", "-o", "large.png"]);
    let (small, large) = (read("r/sheet.safetensors"), read("large.safetensors"));
    let z = |bytes: &[u8]| {
        let t = safetensors::SafeTensors::deserialize(bytes).expect("tensors");
        t.tensor("in:z").expect("latents").data()[..16 * 4 * 4].to_vec()
    };
    assert!(z(&small) == z(&large));
    // The sample with number 3, its operand and the result are one picture.
    c.ok(&["arith", "r", "3", "--neighbours", "0", "-o", "a.png"]);
    let third = cut(&c, "r/sheet.png", 8 + 3 * 96, 8);
    assert!(third == cut(&c, "a.png", 8, 38) && third == cut(&c, "a.png", 8, 192));
    assert!(third != cut(&c, "r/sheet.png", 8, 8));
    // Labels of rows differ, so both ends of a way need one: its ends are then those samples.
    c.ok(&["interp", "r", "3", "5", "--steps", "4", "--with", "label=7", "-o", "i.png"]);
    c.ok(&["arith", "r", "3", "--with", "label=7", "--neighbours", "0", "-o", "b.png"]);
    assert!(cut(&c, "i.png", 8, 38) == cut(&c, "b.png", 8, 192));
    c.ok(&["interp", "r", "3", "5", "--spherical", "--with", "label=7", "-o", "s.png"]);
    assert!(cut(&c, "s.png", 8, 38) == cut(&c, "i.png", 8, 38));
    let first = read("s.png");
    c.ok(&["interp", "r", "3", "5", "--with", "label=7", "-o", "s.png"]);
    assert!(read("s.png") != first, "the great circle is another way");
}

#[test]
fn labels_and_classifiers_pick_operands() {
    let c = trained();
    c.ok(&["sample", "r", "--sheet", "-n", "40"]);
    // One label's average is of one label.
    c.ok(&["arith", "r", "avg(label=3)", "avg(label=3) - 0.5 * avg(label=3, 	label=3)"]);
    c.ok(&["arith", "r", "avg(even=yes) - avg(big=0)", "--with", "label=2", "--seed", "4"]);
    let first = fs::read(c.path("arith.png")).expect("a picture");
    c.ok(&["arith", "r", "avg(even=yes) - avg(big=0)", "--with", "label=2", "--seed", "4"]);
    assert!(fs::read(c.path("arith.png")).expect("a picture") == first);
    c.refused(&["arith", "r", "avg(even=yes)"], "--with label=0");
    c.refused(&["arith", "r", "1 - 2"], "labels do not add up");
    c.refused(&["arith", "r", "avg(label=11)"], "no class of `label`");
    c.refused(&["arith", "r", "avg(label=yes)"], "no class of `label`");
    c.refused(&["arith", "r", "avg(even=2)"], "`yes` or `no`");
    c.refused(&["arith", "r", "avg(z=1)"], "is no label");
    c.refused(&["arith", "r", "avg(evem=yes)"], "did you mean `even`");
    c.refused(&["arith", "r", "avg(colour=red)"], "judgements are made of label, even, big");
    c.refused(&["arith", "r", "avg(label=1, label=2)"], "no sample of the sheet is judged so");
}

#[test]
fn bad_input_of_the_commands_on_latents() {
    let c = trained();
    let e = c.refused(&["arith", "r", "1"], "there are no latents");
    assert!(e.contains("ganc sample r --sheet"), "{e}");
    c.refused(&["sample", "r", "--sheet", "-n", "0"], "from 1 to");
    c.refused(&["sample", "r", "--sheet", "-n", "5000"], "from 1 to 4096");
    c.refused(&["sample", "r", "--sheet", "-o", "nowhere/s.png"], "nowhere");
    c.refused(&["sample", "r", "--sheet", "-o", "s.safetensors"], "name the picture");
    c.refused(&["sample", "r", "--sheet", "-n", "2000"], "which has 1438 rows");
    c.ok(&["sample", "r", "--sheet", "-n", "16"]);
    c.refused(&["arith", "nowhere", "1"], "nowhere/run.json");
    let e = c.refused(&["arith", "r", "avg(3, 99)"], "E0561");
    assert!(e.contains("its numbers go from 0 to 15") && e.contains("expression:1:8"), "{e}");
    c.refused(&["arith", "r", "avg(3"], "E0560");
    c.refused(&["arith", "r", "3", "avg()"], "E0560");
    c.refused(&["arith", "r", "3", "--with", "label=10"], "from 0 to 9");
    c.refused(&["arith", "r", "3", "--with", "z=1"], "no label");
    c.refused(&["arith", "r", "3", "--with", "q=1"], "takes z, label");
    c.refused(&["arith", "r", "3", "--with", "label"], "--with takes NAME=VALUE");
    c.refused(&["arith", "r", "3", "--noise=-1"], "--noise");
    c.refused(&["arith", "r", "3", "--noise", "nan"], "--noise");
    c.refused(&["arith", "r", "3", "--neighbours", "1000"], "--neighbours");
    c.refused(&["arith", "r", "3", "--sheet", "other.png"], "other.safetensors");
    c.refused(&["arith", "r", "3", "-o", "nowhere/a.png"], "nowhere");
    c.refused(&["interp", "r", "3", "16"], "no sample 16");
    c.refused(&["interp", "r", "0", "1"], "different labels `label`");
    c.refused(&["interp", "r", "0", "0", "--steps", "1"], "--steps");
    let (code, _, _) = c.ganc(&["interp", "r", "0"]);
    assert_eq!(code, 2, "the last sample is missing");

    // Files that are no latents of this run.
    let good = fs::read(c.path("r/sheet.safetensors")).expect("latents");
    for bytes in [&good[..good.len() / 2], &b"x"[..], &[]] {
        c.write("bad.safetensors", bytes);
        c.refused(&["arith", "r", "3", "--sheet", "bad.png"], "cannot be used");
    }
    let last = c.path("r/checkpoints/0-00000002.safetensors");
    fs::copy(last, c.path("bad.safetensors")).expect("a copy");
    c.refused(&["arith", "r", "3", "--sheet", "bad.png"], "no contact sheet");
    c.ok(&["run", "a.gan", "--out", "q", "--quiet", "--steps", "3"]);
    c.refused(&["arith", "q", "3", "--sheet", "r/sheet.png"], "another spec");
    c.write("b.gan", RING);
    c.ok(&["run", "b.gan", "--out", "b", "--quiet"]);
    c.refused(&["sample", "b", "--sheet"], "no picture");
}
