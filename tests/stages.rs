//! A snapshot of each stage for each file of `tests/cases/`: small specs, one idea each.

use ganc::source::FileId;
use ganc::syntax::{dump, parse};

#[test]
fn ast() {
    insta::glob!("cases/*.gan", |path| {
        let text = std::fs::read_to_string(path).expect("a case");
        let file = parse(FileId(0), &text).unwrap_or_else(|d| panic!("{}: {:#?}", path.display(), d.items()));
        insta::assert_snapshot!("ast", dump(&file));
    });
}

/// Losses and tricks written out. What comes out is a spec again, and expands to itself.
#[test]
fn expanded() {
    insta::glob!("cases/expand_*.gan", |path| {
        let text = super::model::expanded_text(path);
        insta::assert_snapshot!("expanded", text);
    });
}
