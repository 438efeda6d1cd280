//! `#[rule]` and `#[transform]`: a type of the function's name that calls it, and the exports.
//!
//! Functions and types have separate names in Rust, so `fn too_many` and `struct too_many` live side by side; tests name the
//! latter: `testing::rule::<too_many>()`.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Attribute, Error, Expr, FnArg, GenericArgument, ItemFn, Lit, Meta, PathArguments, Result, ReturnType, Type};

use crate::field::with_lifetime;
use crate::words::{Questions, argument};

const RULE_SHAPE: &str = "a rule is `fn(event: &E)`, then any of `state: &mut S` and `config: &C`, \
    and gives a bool, an Option of output columns, or a Result of these";
const BATCH_SHAPE: &str = "a batch rule is `fn(batch: &Batch<E>)`, then `config: &C` if wanted, and gives a Mask";
const TRANSFORM_SHAPE: &str = "a transform is `fn(event: &E)`, then any of `state: &mut S`, `config: &C` and `emit: &mut Emit<O>`, \
    and gives a row, an Option or a Vec of rows, or a Result of these; with `emit`, nothing or a Result of nothing";

/// What the arguments behind the event are for, in the function's order.
enum Role {
    State(Type),
    Config(Type),
    Emit(Type),
}

struct Signature {
    event: Type,
    roles: Vec<Role>,
}

impl Signature {
    fn of(function: &ItemFn, shape: &str) -> Result<Self> {
        let signature = &function.sig;
        if signature.asyncness.is_some() || signature.generics.type_params().next().is_some() {
            return Err(Error::new_spanned(&signature.ident, shape));
        }
        let mut arguments = signature.inputs.iter();
        let event = match arguments.next().map(reference) {
            Some(Some((false, ty))) => ty,
            Some(_) | None => return Err(Error::new_spanned(&signature.inputs, shape)),
        };
        let mut roles = Vec::new();
        for argument in arguments {
            roles.push(match reference(argument) {
                Some((true, ty)) => match generic(&ty, "Emit") {
                    Some(row) => Role::Emit(row),
                    None => Role::State(ty),
                },
                Some((false, ty)) => Role::Config(ty),
                None => return Err(Error::new_spanned(argument, shape)),
            });
            let same = |role: &&Role| std::mem::discriminant(*role) == std::mem::discriminant(&roles[roles.len() - 1]);
            if roles.iter().filter(same).count() > 1 {
                return Err(Error::new_spanned(argument, shape));
            }
        }
        Ok(Self { event, roles })
    }

    /// The state's type, `()` without.
    fn state(&self) -> TokenStream {
        let state = self.roles.iter().find_map(|role| if let Role::State(ty) = role { Some(ty.to_token_stream()) } else { None });
        state.unwrap_or_else(|| quote!(()))
    }

    /// The configuration's type, `()` without.
    fn config(&self) -> TokenStream {
        let config =
            self.roles.iter().find_map(|role| if let Role::Config(ty) = role { Some(ty.to_token_stream()) } else { None });
        config.unwrap_or_else(|| quote!(()))
    }

    fn emit(&self) -> Option<&Type> {
        self.roles.iter().find_map(|role| if let Role::Emit(ty) = role { Some(ty) } else { None })
    }

    /// The arguments behind the event, as the generated closure has them.
    fn passed(&self) -> TokenStream {
        let passed = self.roles.iter().map(|role| match role {
            Role::State(_) => quote!(state),
            Role::Config(_) => quote!(&self.config),
            Role::Emit(_) => quote!(emit),
        });
        quote!(#(, #passed)*)
    }
}

pub(crate) fn rule(arguments: TokenStream, function: ItemFn) -> Result<TokenStream> {
    match arguments.to_string().as_str() {
        "" => row_rule(&function),
        "batch" => batch_rule(&function),
        _ => Err(Error::new_spanned(arguments, "#[rule] takes nothing or `batch`")),
    }
}

fn row_rule(function: &ItemFn) -> Result<TokenStream> {
    let signature = Signature::of(function, RULE_SHAPE)?;
    let ReturnType::Type(_, verdict) = &function.sig.output else {
        return Err(Error::new_spanned(&function.sig, RULE_SHAPE));
    };
    if let Some(emit) = signature.emit() {
        return Err(Error::new_spanned(emit, "Emit is for #[transform]; a rule returns its output columns"));
    }
    let name = &function.sig.ident;
    let (event, state, verdict) = (inferred(&signature.event), signature.state(), inferred(verdict));
    let (passed, doc) = (signature.passed(), doc(&function.attrs));
    let body = quote! {
        ::tidemill_sdk::rule::judge::<#event, #state, #verdict>(call, answer, |event, state, taken| {
            let _ = &state;
            ::tidemill_sdk::rule::Verdict::give(#name(&event #passed), taken)
        });
        ::core::result::Result::Ok(())
    };
    let body = words(function, &signature, &event).unwrap_or(body);
    let describe = quote!(::tidemill_sdk::rule::describe::<#event, #state, #verdict>(#doc));
    Ok(component(function, &signature, Kind::Rule, &describe, &body))
}

/// The body of a rule that may be asked word by word: no state, a bool, and nothing but comparisons.
fn words(function: &ItemFn, signature: &Signature, event: &TokenStream) -> Option<TokenStream> {
    let ReturnType::Type(_, verdict) = &function.sig.output else { return None };
    let plain = matches!(verdict.as_ref(), Type::Path(path) if path.path.is_ident("bool"));
    if !plain || !function.sig.generics.params.is_empty() {
        return None;
    }
    let config = match signature.roles.as_slice() {
        [] => TokenStream::new(),
        [Role::Config(_)] => {
            let config = argument(function.sig.inputs.last()?)?;
            quote!(let #config = &self.config;)
        }
        _ => return None,
    };
    let questions = Questions::of(function, event)?;
    let (name, tables, word) = (&function.sig.ident, questions.tables(), &questions.word);
    Some(quote! {
        // Its body stands below; nobody shall be told that it is never called.
        let _ = #name;
        let (__call, __answer) = (call, answer);
        let __columns = <#event as ::tidemill_sdk::event::Event>::bind(__call);
        #config
        #tables
        ::tidemill_sdk::words::judge(__call, __answer, |__rows, __word| #word);
        ::core::result::Result::Ok(())
    })
}

fn batch_rule(function: &ItemFn) -> Result<TokenStream> {
    let signature = Signature::of(function, BATCH_SHAPE)?;
    let Some(event) = generic(&signature.event, "Batch") else {
        return Err(Error::new_spanned(&signature.event, BATCH_SHAPE));
    };
    if signature.roles.iter().any(|role| matches!(role, Role::State(_) | Role::Emit(_))) {
        return Err(Error::new_spanned(&function.sig.inputs, BATCH_SHAPE));
    }
    let name = &function.sig.ident;
    let (event, passed, doc) = (inferred(&event), signature.passed(), doc(&function.attrs));
    let body = quote! {
        ::tidemill_sdk::rule::judge_batch::<#event, _>(call, answer, |batch| #name(batch #passed))
    };
    let describe = quote!(::tidemill_sdk::rule::describe::<#event, (), bool>(#doc));
    Ok(component(function, &signature, Kind::Rule, &describe, &body))
}

pub(crate) fn transform(arguments: TokenStream, function: ItemFn) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "#[transform] takes nothing"));
    }
    let signature = Signature::of(&function, TRANSFORM_SHAPE)?;
    let (row, give) = match (signature.emit(), &function.sig.output) {
        (Some(row), _) => (inferred(row), quote!(::tidemill_sdk::transform::Done::give)),
        (None, ReturnType::Type(_, rows)) => {
            let rows = inferred(rows);
            (quote!(<#rows as ::tidemill_sdk::transform::Rows>::Row), quote!(::tidemill_sdk::transform::Rows::give))
        }
        (None, ReturnType::Default) => return Err(Error::new_spanned(&function.sig, TRANSFORM_SHAPE)),
    };
    let name = &function.sig.ident;
    let (event, state) = (inferred(&signature.event), signature.state());
    let (passed, doc) = (signature.passed(), doc(&function.attrs));
    let body = quote! {
        ::tidemill_sdk::transform::run::<#event, #state, #row>(call, answer, |event, state, emit| {
            let _ = &state;
            let given = #name(&event #passed);
            #give(given, emit);
        });
        ::core::result::Result::Ok(())
    };
    let describe = quote!(::tidemill_sdk::transform::describe::<#event, #state, #row>(#doc));
    Ok(component(&function, &signature, Kind::Transform, &describe, &body))
}

enum Kind {
    Rule,
    Transform,
}

/// The function, the type of its name, and the exports.
fn component(function: &ItemFn, signature: &Signature, kind: Kind, describe: &TokenStream, body: &TokenStream) -> TokenStream {
    let (name, visibility, config) = (&function.sig.ident, &function.vis, signature.config());
    let (kind, method, answer, export) = match kind {
        Kind::Rule => (
            quote!(rule::Rule),
            quote!(evaluate),
            quote!(RuleAnswer),
            quote!(::tidemill_sdk::__export!(RuleGuest, #name; "evaluate" evaluate);),
        ),
        Kind::Transform => (
            quote!(transform::Transform),
            quote!(apply),
            quote!(TransformAnswer),
            quote!(::tidemill_sdk::__export!(TransformGuest, #name; "apply" apply);),
        ),
    };
    let type_doc = format!("The component around the function `{name}`.");
    quote! {
        #function

        #[doc = #type_doc]
        #[allow(non_camel_case_types, dead_code)]
        #visibility struct #name {
            config: #config,
        }

        impl ::tidemill_sdk::#kind for #name {
            fn describe() -> ::tidemill_sdk::call::Description {
                #describe
            }

            fn open(config: &str) -> ::core::result::Result<Self, ::std::string::String> {
                ::core::result::Result::Ok(Self { config: ::tidemill_sdk::config::read::<#config>(config)? })
            }

            fn #method(
                &mut self,
                call: &::tidemill_sdk::call::Call<'_>,
                answer: &mut ::tidemill_sdk::call::#answer,
            ) -> ::core::result::Result<(), ::std::string::String> {
                #body
            }
        }

        // Only WebAssembly exports it; this keeps a native build from calling it dead code.
        const _: fn(
            &mut #name,
            &::tidemill_sdk::call::Call<'_>,
            &mut ::tidemill_sdk::call::#answer,
        ) -> ::core::result::Result<(), ::std::string::String> = <#name as ::tidemill_sdk::#kind>::#method;

        #[cfg(target_arch = "wasm32")]
        #export
    }
}

/// The type with its lifetimes left to inference, as generated bodies name it.
pub(crate) fn inferred(ty: &Type) -> TokenStream {
    with_lifetime(ty, "_")
}

/// `&T` or `&mut T`: whether it is mutable, and `T`.
fn reference(argument: &FnArg) -> Option<(bool, Type)> {
    let FnArg::Typed(argument) = argument else { return None };
    let Type::Reference(reference) = argument.ty.as_ref() else { return None };
    Some((reference.mutability.is_some(), reference.elem.as_ref().clone()))
}

/// `T` of `Wrapper<T>`.
fn generic(ty: &Type, wrapper: &str) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|segment| segment.ident == wrapper)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    arguments.args.iter().find_map(|argument| if let GenericArgument::Type(ty) = argument { Some(ty.clone()) } else { None })
}

/// The doc comment, a line a line.
pub(crate) fn doc(attributes: &[Attribute]) -> String {
    let line = |attribute: &Attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        Meta::NameValue(_) | Meta::Path(_) | Meta::List(_) => None,
    };
    attributes.iter().filter_map(line).collect::<Vec<_>>().join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    /// What the author is told.
    fn check(result: Result<TokenStream>, told: &str) {
        let error = result.expect_err(told).to_string();
        assert!(error.starts_with(told), "{error}");
    }

    #[test]
    fn a_function_of_another_shape_is_told_which_shape_it_needs() {
        let none = TokenStream::new;
        check(
            rule(
                none(),
                parse_quote!(
                    fn f(event: Login) -> bool {
                        true
                    }
                ),
            ),
            "a rule is `fn(event: &E)`",
        );
        check(
            rule(
                none(),
                parse_quote!(
                    fn f() -> bool {
                        true
                    }
                ),
            ),
            "a rule is `fn(event: &E)`",
        );
        check(
            rule(
                none(),
                parse_quote!(
                    fn f(event: &Login) {}
                ),
            ),
            "a rule is `fn(event: &E)`",
        );
        check(
            rule(
                none(),
                parse_quote!(
                    async fn f(event: &Login) -> bool {
                        true
                    }
                ),
            ),
            "a rule is `fn(event: &E)`",
        );
        check(
            rule(
                none(),
                parse_quote!(
                    fn f(event: &Login, a: &A, b: &B) -> bool {
                        true
                    }
                ),
            ),
            "a rule is `fn(event: &E)`",
        );
        check(
            rule(
                none(),
                parse_quote!(
                    fn f(event: &Login, emit: &mut Emit<A>) -> bool {
                        true
                    }
                ),
            ),
            "Emit is for #[transform]",
        );
        check(
            rule(
                quote!(fast),
                parse_quote!(
                    fn f(event: &Login) -> bool {
                        true
                    }
                ),
            ),
            "#[rule] takes nothing or `batch`",
        );
        check(
            rule(
                quote!(batch),
                parse_quote!(
                    fn f(event: &Login) -> Mask {
                        x
                    }
                ),
            ),
            "a batch rule is `fn(batch: &Batch<E>)`",
        );
        let stateful = parse_quote!(
            fn f(batch: &Batch<Login>, state: &mut S) -> Mask {
                x
            }
        );
        check(rule(quote!(batch), stateful), "a batch rule is `fn(batch: &Batch<E>)`");
        check(
            transform(
                none(),
                parse_quote!(
                    fn f(event: &Login) {}
                ),
            ),
            "a transform is `fn(event: &E)`",
        );
        check(
            transform(
                quote!(batch),
                parse_quote!(
                    fn f(event: &Login) -> Row {
                        x
                    }
                ),
            ),
            "#[transform] takes nothing",
        );
    }

    #[test]
    fn arguments_are_told_apart_by_their_types_and_passed_in_their_order() {
        let function: ItemFn = parse_quote!(
            fn f<'a>(e: &Login<'a>, c: &Config, s: &mut Failures, out: &mut Emit<Row<'a>>) {}
        );
        let signature = Signature::of(&function, TRANSFORM_SHAPE).expect("a transform");
        assert_eq!(signature.state().to_string(), "Failures");
        assert_eq!(signature.config().to_string(), "Config");
        assert_eq!(inferred(signature.emit().expect("an Emit")).to_string(), "Row < '_ >");
        assert_eq!(signature.passed().to_string(), ", & self . config , state , emit");
    }

    #[test]
    fn the_doc_comment_is_the_description() {
        let function: ItemFn = parse_quote!(
            /// First line.
            ///
            /// Third.
            #[inline]
            fn f() {}
        );
        assert_eq!(doc(&function.attrs), "First line.\n\nThird.");
    }
}
