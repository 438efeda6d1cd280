//! Finds out whether a rule may be asked word by word (`tidemill_sdk::words`) instead of row by row, and writes the questions.
//!
//! A rule may if its body is one expression of `&&`, `||`, `!` and comparisons over fields of the event, constants and the
//! configuration. Such an expression has no effect and cannot fail, so nobody can tell how often, in which order and for which rows
//! it was asked. Anything else, a call of the author's own function for one, leaves the rule to the loop over rows.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::{BinOp, Expr, FnArg, ItemFn, Lit, Member, Pat, Stmt, UnOp};

/// Methods of text, numbers and options that only look, and never panic.
const LOOKING: [&str; 24] = [
    "abs",
    "as_bytes",
    "as_deref",
    "as_str",
    "contains",
    "ends_with",
    "eq",
    "eq_ignore_ascii_case",
    "ge",
    "gt",
    "is_empty",
    "is_finite",
    "is_nan",
    "is_none",
    "is_none_or",
    "is_some",
    "is_some_and",
    "le",
    "len",
    "lt",
    "ne",
    "starts_with",
    "trim",
    "unwrap_or_default",
];

/// A rule's body as questions.
pub(crate) struct Questions {
    event: Ident,
    /// One for each question that may be put to a dictionary: the column and the question.
    tables: Vec<(Ident, TokenStream)>,
    /// The word of verdicts.
    pub(crate) word: TokenStream,
}

impl Questions {
    /// Of a function `fn(event: &E)` or `fn(event: &E, config: &C)` that gives a bool; `None` if rows have to be asked one by one.
    pub(crate) fn of(function: &ItemFn, event_type: &TokenStream) -> Option<Self> {
        let mut names = function.sig.inputs.iter().map(argument);
        let event = names.next()??;
        let [Stmt::Expr(body, None)] = function.block.stmts.as_slice() else { return None };
        let mut questions = Self { event, tables: Vec::new(), word: TokenStream::new() };
        questions.word = questions.narrowed(body, event_type, &quote!(__word))?;
        Some(questions)
    }

    /// The tables, each bound to the name its question uses.
    pub(crate) fn tables(&self) -> TokenStream {
        let tables = self.tables.iter().enumerate().map(|(at, (column, question))| {
            let table = table(at);
            let value = value();
            quote! {
                let #table = ::tidemill_sdk::column::Column::table(&__columns.#column, __call.rows, |#value| #question);
            }
        });
        quote!(#(#tables)*)
    }

    /// Tokens for the rows of `word` that pass.
    fn narrowed(&mut self, expression: &Expr, event_type: &TokenStream, word: &TokenStream) -> Option<TokenStream> {
        match expression {
            Expr::Paren(inner) => self.narrowed(&inner.expr, event_type, word),
            Expr::Binary(binary) if matches!(binary.op, BinOp::And(_)) => {
                let left = self.narrowed(&binary.left, event_type, &quote!(__word))?;
                let right = self.narrowed(&binary.right, event_type, &quote!(__word))?;
                Some(quote!({ let __word = #word; let __word = #left; if __word == 0 { 0 } else { #right } }))
            }
            Expr::Binary(binary) if matches!(binary.op, BinOp::Or(_)) => {
                let left = self.narrowed(&binary.left, event_type, &quote!(__word))?;
                let right = self.narrowed(&binary.right, event_type, &quote!(__word))?;
                Some(
                    quote!({ let __word = #word; let __yes = #left; let __word = __word & !__yes; if __word == 0 { __yes } else { __yes | #right } }),
                )
            }
            Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_)) => {
                let inner = self.narrowed(&unary.expr, event_type, &quote!(__word))?;
                Some(quote!({ let __word = #word; __word & !#inner }))
            }
            leaf => self.leaf(leaf, event_type, word),
        }
    }

    fn leaf(&mut self, leaf: &Expr, event_type: &TokenStream, word: &TokenStream) -> Option<TokenStream> {
        let mut fields = Vec::new();
        if !looks(leaf, &self.event, &mut fields) {
            return None;
        }
        let event = &self.event;
        match fields.as_slice() {
            [] => Some(quote!(if #leaf { #word } else { 0 })),
            [field] => {
                let question = of_value(leaf.to_token_stream(), event);
                let (table, value) = (table(self.tables.len()), value());
                let tokens = quote!(::tidemill_sdk::words::narrow(&__columns.#field, &#table, __rows, #word, |#value| #question));
                self.tables.push((field.clone(), question));
                Some(tokens)
            }
            _ => Some(quote! {
                ::tidemill_sdk::words::some(__rows, #word, |__row| {
                    let #event = &<#event_type as ::tidemill_sdk::event::Event>::row(&__columns, __row);
                    #leaf
                })
            }),
        }
    }
}

fn table(at: usize) -> Ident {
    format_ident!("__table_{at}")
}

/// The name of a column's value in a question; no author has it.
fn value() -> Ident {
    Ident::new("__value", Span::call_site())
}

/// The name of an argument.
pub(crate) fn argument(argument: &FnArg) -> Option<Ident> {
    let FnArg::Typed(argument) = argument else { return None };
    let Pat::Ident(name) = argument.pat.as_ref() else { return None };
    Some(name.ident.clone())
}

/// The field, if this is `event.field`.
fn field_of<'a>(expression: &'a Expr, event: &Ident) -> Option<&'a Ident> {
    let Expr::Field(field) = expression else { return None };
    let (Expr::Path(base), Member::Named(name)) = (field.base.as_ref(), &field.member) else { return None };
    base.path.is_ident(event).then_some(name)
}

/// Whether it only looks: no effect, no panic. Adds the event's fields it uses, each once.
fn looks(expression: &Expr, event: &Ident, fields: &mut Vec<Ident>) -> bool {
    if let Some(field) = field_of(expression, event) {
        if !fields.contains(field) {
            fields.push(field.clone());
        }
        return true;
    }
    match expression {
        Expr::Lit(_) => true,
        // The event as a whole would have to be there as a whole.
        Expr::Path(path) => !path.path.is_ident(event),
        Expr::Paren(inner) => looks(&inner.expr, event, fields),
        Expr::Reference(inner) => inner.mutability.is_none() && looks(&inner.expr, event, fields),
        Expr::Field(field) => looks(&field.base, event, fields),
        Expr::Unary(unary) => match unary.op {
            UnOp::Not(_) | UnOp::Deref(_) => looks(&unary.expr, event, fields),
            // The smallest integer has no opposite.
            UnOp::Neg(_) => {
                matches!(unary.expr.as_ref(), Expr::Lit(literal) if matches!(literal.lit, Lit::Int(_) | Lit::Float(_)))
            }
            _ => false,
        },
        Expr::Binary(binary) => {
            let compares = matches!(
                binary.op,
                BinOp::Eq(_)
                    | BinOp::Ne(_)
                    | BinOp::Lt(_)
                    | BinOp::Le(_)
                    | BinOp::Gt(_)
                    | BinOp::Ge(_)
                    | BinOp::And(_)
                    | BinOp::Or(_)
            );
            compares && looks(&binary.left, event, fields) && looks(&binary.right, event, fields)
        }
        Expr::MethodCall(call) => {
            let known = LOOKING.iter().any(|name| call.method == name) && call.turbofish.is_none();
            known && looks(&call.receiver, event, fields) && call.args.iter().all(|argument| looks(argument, event, fields))
        }
        Expr::Closure(closure) => {
            let named = closure.inputs.iter().all(|input| matches!(input, Pat::Ident(name) if name.ident != *event));
            named && closure.asyncness.is_none() && looks(&closure.body, event, fields)
        }
        _ => false,
    }
}

/// Puts the value of a column where `event.field` stood, the only form in which the event stands in a question.
fn of_value(question: TokenStream, event: &Ident) -> TokenStream {
    let mut tokens = question.into_iter();
    let mut output = Vec::new();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(name) if name == *event => {
                // The point and the field's name.
                tokens.next();
                tokens.next();
                output.push(TokenTree::Ident(value()));
            }
            TokenTree::Group(group) => {
                output.push(TokenTree::Group(Group::new(group.delimiter(), of_value(group.stream(), event))));
            }
            other => output.push(other),
        }
    }
    output.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    /// How many tables the questions have; `None` if rows are asked one by one.
    fn check(body: Expr, tables: Option<usize>) {
        let text = body.to_token_stream().to_string();
        let function: ItemFn = parse_quote!(fn f(e: &Event, config: &Config) -> bool { #body });
        let questions = Questions::of(&function, &quote!(Event));
        assert_eq!(questions.map(|questions| questions.tables.len()), tables, "{text}");
    }

    #[test]
    fn comparisons_are_put_to_columns_and_everything_else_to_rows() {
        check(parse_quote!(e.amount > 1000.0 && e.country != config.home && e.status == "ok"), Some(3));
        check(parse_quote!(e.a == 1 || !(e.b < -2 && e.c.is_some_and(|c| c.starts_with("x")))), Some(3));
        check(parse_quote!(e.a == e.b || config.all), Some(0));
        check(parse_quote!(e.a > LIMIT), Some(1));
        for body in [
            parse_quote!(mine(e)),
            parse_quote!(mine(e.a)),
            parse_quote!(e.a == 1 && mine(e.b)),
            parse_quote!(e.a + 1 > 2),
            parse_quote!(e.a[0] == 1),
            parse_quote!(e.a.unwrap() == 1),
            parse_quote!(-e.a == 1),
            parse_quote!(e.mine()),
            parse_quote!({
                count();
                e.a == 1
            }),
            parse_quote!(if e.a == 1 { true } else { false }),
            parse_quote!(matches!(e.a, 1)),
        ] {
            check(body, None);
        }
        let statements: ItemFn = parse_quote!(
            fn f(e: &Event) -> bool {
                let a = e.a;
                a == 1
            }
        );
        assert!(Questions::of(&statements, &quote!(Event)).is_none());
    }
}
