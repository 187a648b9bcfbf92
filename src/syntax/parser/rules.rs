//! What rules are called in messages, and walking over their pairs.

use super::{P, Rule};

/// Children of a pair without punctuation and keywords.
pub(super) struct Kids<'a> {
    pairs: std::iter::Peekable<pest::iterators::Pairs<'a, Rule>>,
}

impl<'a> Kids<'a> {
    pub(super) fn of(p: P<'a>) -> Self {
        Self { pairs: p.into_inner().peekable() }
    }

    fn skip(&mut self) {
        while self.pairs.peek().is_some_and(|p| is_mark(p.as_rule())) {
            self.pairs.next();
        }
    }

    /// The next child, which the grammar guarantees.
    #[allow(clippy::should_implement_trait)]
    pub(super) fn next(&mut self) -> P<'a> {
        match Iterator::next(self) {
            Some(p) => p,
            None => unreachable!("the grammar guarantees this part"),
        }
    }

    /// The next child if it is of this rule.
    pub(super) fn opt(&mut self, rule: Rule) -> Option<P<'a>> {
        self.skip();
        self.pairs.next_if(|p| p.as_rule() == rule)
    }
}

impl<'a> Iterator for Kids<'a> {
    type Item = P<'a>;
    fn next(&mut self) -> Option<P<'a>> {
        self.skip();
        self.pairs.next()
    }
}

/// The single meaningful child.
pub(super) fn only(p: P) -> P {
    Kids::of(p).next()
}

/// Whether a rule is punctuation or a keyword, with no meaning of its own in the tree.
#[rustfmt::skip]
fn is_mark(rule: Rule) -> bool {
    use Rule::*;
    matches!(
        rule,
        EOI | lparen | rparen | lbracket | rbracket | lbrace | rbrace | comma | colon | semi | tilde | arrow | pipe
            | dotdot | assign | dot | w_batch | w_steps | w_epochs | w_of | w_class | kw_use | kw_const | kw_data
            | kw_block | kw_generator | kw_discriminator | kw_loss | kw_train | kw_let | kw_param | kw_out | kw_tap
            | kw_residual | kw_shortcut | kw_repeat | kw_if | kw_else | kw_in | kw_with | kw_draw | kw_player
            | kw_updates | kw_minimize | kw_using | kw_trick | kw_every | kw_evaluate | kw_expect | kw_after | kw_per
    )
}

/// What a rule is called in "expected …": marks are quoted with backticks; empty: never mentioned.
pub(super) fn describe(rule: Rule) -> &'static str {
    match rule {
        Rule::EOI => "the end of the file",
        Rule::WHITESPACE | Rule::COMMENT | Rule::letter | Rule::follow | Rule::keyword => "",
        Rule::digits | Rule::primary => "",
        Rule::file
        | Rule::item
        | Rule::use_item
        | Rule::const_item
        | Rule::data_item
        | Rule::block_item
        | Rule::network_item
        | Rule::loss_item
        | Rule::train_item => "an item",
        Rule::params => "`(`",
        Rule::param => "a parameter",
        Rule::inputs => "`(`",
        Rule::input => "an input",
        Rule::result => "a result type",
        Rule::type_expr => "a type",
        Rule::shape => "a shape",
        Rule::class_type => "`class(…)`",
        Rule::with => "`with`",
        Rule::modifiers => "`(`",
        Rule::modifier => "a modifier",
        Rule::loss_line | Rule::let_line | Rule::discriminator_line | Rule::generator_line => "a line of the loss",
        Rule::body => "`{`",
        Rule::stmt
        | Rule::let_stmt
        | Rule::param_stmt
        | Rule::out_stmt
        | Rule::tap_stmt
        | Rule::residual_stmt
        | Rule::repeat_stmt
        | Rule::if_stmt
        | Rule::it_stmt => "a statement",
        Rule::names => "a name",
        Rule::range_head => "a range",
        Rule::layer => "a layer",
        Rule::train_body => "`{`",
        Rule::train_stmt
        | Rule::draw_stmt
        | Rule::loss_stmt
        | Rule::trick_stmt
        | Rule::player_stmt
        | Rule::every_stmt
        | Rule::expect_stmt
        | Rule::train_if
        | Rule::epochs_stmt
        | Rule::setting_stmt => "a statement of `train`",
        Rule::drawn => "a name",
        Rule::updates => "`updates`",
        Rule::player_line | Rule::minimize_line | Rule::using_line | Rule::repeat_line | Rule::batch_line => {
            "a line of the player"
        }
        Rule::action | Rule::evaluate | Rule::action_call => "an action",
        Rule::expr | Rule::operand | Rule::list | Rule::paren => "an expression",
        Rule::field => "`.`",
        Rule::index => "`[`",
        Rule::one_index => "an index",
        Rule::stage => "a layer",
        Rule::args => "`(`",
        Rule::arg => "an argument",
        Rule::word | Rule::ident => "a name",
        Rule::number => "a number",
        Rule::string => "a string",
        Rule::boolean => "true or false",
        Rule::it => "`it`",
        Rule::role => "network or role",
        Rule::setting => "a setting",
        Rule::kw_use => "`use`",
        Rule::kw_const => "`const`",
        Rule::kw_data => "`data`",
        Rule::kw_block => "`block`",
        Rule::kw_generator => "`generator`",
        Rule::kw_discriminator => "`discriminator`",
        Rule::kw_loss => "`loss`",
        Rule::kw_train => "`train`",
        Rule::kw_let => "`let`",
        Rule::kw_param => "`param`",
        Rule::kw_out => "`out`",
        Rule::kw_tap => "`tap`",
        Rule::kw_residual => "`residual`",
        Rule::kw_shortcut => "`shortcut`",
        Rule::kw_repeat => "`repeat`",
        Rule::kw_if => "`if`",
        Rule::kw_else => "`else`",
        Rule::kw_in => "`in`",
        Rule::kw_with => "`with`",
        Rule::kw_draw => "`draw`",
        Rule::kw_player => "`player`",
        Rule::kw_updates => "`updates`",
        Rule::kw_minimize => "`minimize`",
        Rule::kw_using => "`using`",
        Rule::kw_trick => "`trick`",
        Rule::kw_every => "`every`",
        Rule::kw_evaluate => "`evaluate`",
        Rule::kw_expect => "`expect`",
        Rule::kw_after => "`after`",
        Rule::kw_per => "`per`",
        Rule::w_batch => "`batch`",
        Rule::w_steps => "`steps`",
        Rule::w_epochs => "`epochs`",
        Rule::w_of => "`of`",
        Rule::w_class => "`class`",
        Rule::freshness => "`iteration` or `update`",
        Rule::lparen => "`(`",
        Rule::rparen => "`)`",
        Rule::lbracket => "`[`",
        Rule::rbracket => "`]`",
        Rule::lbrace => "`{`",
        Rule::rbrace => "`}`",
        Rule::comma => "`,`",
        Rule::colon => "`:`",
        Rule::semi => "`;`",
        Rule::tilde => "`~`",
        Rule::arrow => "`->`",
        Rule::pipe => "`|>`",
        Rule::dotdot => "`..`",
        Rule::assign => "`=`",
        Rule::dot => "`.`",
        Rule::neg => "`-`",
        Rule::infix => "an operator",
    }
}
