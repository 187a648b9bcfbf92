//! Codes about syntax (E01xx).

use super::Entry;

pub(super) const TABLE: &[Entry] = &[
    Entry {
        code: "E0101",
        title: "something else is expected here",
        text: "\
The text stops being a valid spec at this place; the message says what could stand here instead. The mistake is here
or shortly before it.

grammar/LANGUAGE.md lists the grammar in one page.
",
    },
    Entry {
        code: "E0102",
        title: "a bracket is not closed, or closes nothing",
        text: "\
Each `(`, `[` and `{` needs its partner. A missing `)` is noticed where the next statement begins:

    conv(64, kernel: 4
    relu

is mended by closing the bracket of `conv`. A `{` that is never closed is noticed at the next item or at the end of
the file; the missing `}` may be anywhere between.
",
    },
    Entry {
        code: "E0103",
        title: "a character that the language does not have",
        text: "\
Outside of strings and comments only letters a-z and A-Z, digits, `_`, and the signs of the language are known.
Comments begin with `//`, strings are written with straight double quotes, conditions are not combined with `&&`.
Text copied from a web page or a paper often brings typographic quotes, dashes or invisible spaces.
",
    },
    Entry {
        code: "E0104",
        title: "a malformed number",
        text: "\
A number is digits, with `_` between them if you like, then optionally a point and digits, then optionally an exponent:
`64`, `10_000`, `0.5`, `2e-4`. There are digits on both sides of the point (`.5` and `5.` are errors: write `0.5` and
`5.0`), and no letter follows (`2n` is `2 * n`).
",
    },
    Entry {
        code: "E0105",
        title: "a string or comment does not end, or has an unknown escape",
        text: "\
A string ends with `\"` on the line on which it begins. Its escapes are `\\\"`, `\\\\` and `\\n`. A comment that begins
with `/*` ends with the next `*/`; such comments do not nest.
",
    },
    Entry {
        code: "E0106",
        title: "a layer or action follows something on the same line",
        text: "\
A layer statement or an action begins on a new line, or after `;` or `{`. The rule finds missing operators:

    let a = b c

would otherwise define `a` as `b` and then apply a layer `c`. Write the operator or comma that is missing, or a line
break or `;` if two statements are meant.
",
    },
    Entry {
        code: "E0107",
        title: "a positional argument after a named one",
        text: "\
In a call, arguments without a name stand first: `conv(64, kernel: 4)`, not `conv(kernel: 4, 64)`.
",
    },
    Entry {
        code: "E0108",
        title: "comparisons do not chain",
        text: "\
`0 < x < 1` is no expression of the language. Write two comparisons, for example two `expect` lines.
",
    },
    Entry {
        code: "E0109",
        title: "a keyword where a name or value is expected",
        text: "\
Keywords cannot be names of networks, data, values or layers. They may be used as argument names (`using: sgd(…)`) and
as fields (`faces.data`).

The keywords are: use const data block generator discriminator network loss train let param out tap residual shortcut
repeat if else it in with draw player updates minimize using trick every evaluate expect after per true false.
",
    },
    Entry {
        code: "E0110",
        title: "nested too deeply",
        text: "\
Brackets, blocks, operators of one chain and `else if` branches may be nested 200 levels deep together. Give parts of a
large expression names with `let`.
",
    },
    Entry {
        code: "E0111",
        title: "the file is too large",
        text: "\
A spec has at most 1 MiB. A larger file is most likely not a spec.
",
    },
    Entry {
        code: "E0112",
        title: "a wrong or missing sign between two parts",
        text: "\
Each sign has one use: `=` defines, `:` names an argument or gives a type, `~` draws, `,` separates the elements of a
list, `;` or a line break separates statements, `==` compares, `^` is the power, `->` precedes the result of a network.
Settings take their value directly: `batch 64`.
",
    },
    Entry {
        code: "E0113",
        title: "a statement that begins with a value",
        text: "\
In the body of a network a statement is a layer, which applies to the value before it, or begins with a keyword. A new
name is defined with `let h = …`; the running value is changed with `it = …`. A layer statement is no expression: it is
not piped and nothing is computed with it.

    linear(10)              // it = linear(it, 10)
    let h = it |> relu
    it = h * 2
",
    },
    Entry {
        code: "E0114",
        title: "a word that begins no statement here",
        text: "\
Each place has its own statements. A file is a list of items (`const`, `data`, `block`, `generator`, `discriminator`,
`network`, `loss`, `train`, `use`); `train` holds settings, `draw`, `let`, `loss`, `player`, `trick`, `every`, `expect`
and `if`; a player holds `let`, `minimize`, `using`, `repeat` and `batch`; `every n steps { … }` holds `evaluate` and
calls such as `samples(…)` and `checkpoint`.
",
    },
];
