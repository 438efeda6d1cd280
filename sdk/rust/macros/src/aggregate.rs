//! `#[aggregate]`: an `impl` block of an accumulator, and the exports around its methods.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, FnArg, ImplItem, ImplItemFn, ItemImpl, Result, ReturnType, Type};

use crate::field::with_lifetime;
use crate::function::doc;
use crate::scalar::Arguments;

const SHAPE: &str = "an aggregate is `impl Accumulator` with `fn update(&mut self, value: T, ..)`, `fn merge(&mut self, other: &Self)`, \
    `fn finish(&self) -> V` and, if it can, `fn retract(&mut self, other: &Self)`";

pub(crate) fn aggregate(arguments: TokenStream, item: ItemImpl) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "#[aggregate] takes nothing"));
    }
    if item.trait_.is_some() || !item.generics.params.is_empty() {
        return Err(Error::new_spanned(&item.self_ty, SHAPE));
    }
    let method = |name: &str| {
        item.items.iter().find_map(|item| match item {
            ImplItem::Fn(method) if method.sig.ident == name => Some(method),
            _ => None,
        })
    };
    let needed = |name: &str| method(name).ok_or_else(|| Error::new_spanned(&item.self_ty, format!("no `{name}`: {SHAPE}")));
    let (update, merge, finish) = (needed("update")?, needed("merge")?, needed("finish")?);
    let retract = method("retract");
    receives(update, true)?;
    receives(finish, false)?;
    [Some(merge), retract].into_iter().flatten().try_for_each(takes_another)?;

    let updated = Arguments::of(update.sig.inputs.iter().skip(1), SHAPE)?;
    let finished = Arguments::of(finish.sig.inputs.iter().skip(1), SHAPE)?;
    if finished.fields().to_string() != "[]" {
        return Err(Error::new_spanned(&finish.sig.inputs, SHAPE));
    }
    let ReturnType::Type(_, given) = &finish.sig.output else { return Err(Error::new_spanned(&finish.sig, SHAPE)) };
    let given = with_lifetime(given, "static");
    // Whichever of the two takes it names its type; the compiler sees that they agree.
    let config = if updated.config.is_some() { updated.config_type() } else { finished.config_type() };

    let (name, doc, fields) = (&item.self_ty, doc(&item.attrs), updated.fields());
    let (bind, passed) = (updated.bind(), updated.passed(&quote!(config)));
    let finish_config = finished.passed(&quote!(config));
    let retracts = retract.is_some();
    let retract = if retracts {
        quote! {
            ::tidemill_sdk::aggregate::combine::<Self>(call, answer, |state, other| <#name>::retract(state, other));
            ::core::result::Result::Ok(())
        }
    } else {
        quote! {
            let _ = (call, answer);
            ::core::result::Result::Err(::std::string::String::from("this aggregate does not retract"))
        }
    };
    Ok(quote! {
        #item

        impl ::tidemill_sdk::aggregate::Aggregate for #name {
            type Config = #config;

            fn describe() -> ::tidemill_sdk::call::Description {
                ::tidemill_sdk::aggregate::describe::<Self, #given>(#doc, &#fields, #retracts)
            }

            fn open(config: &str) -> ::core::result::Result<#config, ::std::string::String> {
                ::tidemill_sdk::config::read::<#config>(config)
            }

            fn update_rows(
                config: &#config,
                call: &::tidemill_sdk::call::Call<'_>,
                answer: &mut ::tidemill_sdk::call::AccumulatorAnswer,
            ) {
                let _ = config;
                #bind
                ::tidemill_sdk::aggregate::update::<Self, _>(call, answer, |state, row| {
                    let _ = row;
                    <#name>::update(state, #passed)
                });
            }

            fn merge_rows(
                call: &::tidemill_sdk::call::Call<'_>,
                answer: &mut ::tidemill_sdk::call::AccumulatorAnswer,
            ) {
                ::tidemill_sdk::aggregate::combine::<Self>(call, answer, |state, other| <#name>::merge(state, other));
            }

            fn retract_rows(
                call: &::tidemill_sdk::call::Call<'_>,
                answer: &mut ::tidemill_sdk::call::AccumulatorAnswer,
            ) -> ::core::result::Result<(), ::std::string::String> {
                #retract
            }

            fn finish_rows(
                config: &#config,
                call: &::tidemill_sdk::call::Call<'_>,
                answer: &mut ::tidemill_sdk::call::ValueAnswer,
            ) {
                let _ = config;
                ::tidemill_sdk::aggregate::finish::<Self, _>(call, answer, |state| <#name>::finish(state, #finish_config));
            }
        }

        #[cfg(target_arch = "wasm32")]
        ::tidemill_sdk::__export!(
            AggregateGuest, #name;
            "update" update, "merge" merge, "retract" retract, "finish" finish
        );
    })
}

/// `&mut self`, or `&self`.
fn receives(method: &ImplItemFn, mutably: bool) -> Result<()> {
    match method.sig.inputs.first() {
        Some(FnArg::Receiver(receiver)) if receiver.reference.is_some() && receiver.mutability.is_some() == mutably => Ok(()),
        _ => Err(Error::new_spanned(&method.sig, SHAPE)),
    }
}

/// `(&mut self, other: &Self)`.
fn takes_another(method: &ImplItemFn) -> Result<()> {
    receives(method, true)?;
    let other = method.sig.inputs.iter().nth(1);
    let is_reference = matches!(other, Some(FnArg::Typed(other)) if matches!(other.ty.as_ref(), Type::Reference(reference) if reference.mutability.is_none()));
    let is_silent = matches!(method.sig.output, ReturnType::Default);
    if method.sig.inputs.len() == 2 && is_reference && is_silent { Ok(()) } else { Err(Error::new_spanned(&method.sig, SHAPE)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    fn check(item: ItemImpl, told: &str) {
        let error = aggregate(TokenStream::new(), item).expect_err(told).to_string();
        assert!(error.starts_with(told), "{error}");
    }

    #[test]
    fn an_impl_of_another_shape_is_told_what_is_missing() {
        check(parse_quote!(impl Mean {}), "no `update`");
        check(
            parse_quote!(
                impl Mean {
                    fn update(&mut self, value: f64) {}
                    fn merge(&mut self, other: &Self) {}
                }
            ),
            "no `finish`",
        );
        for item in [
            parse_quote!(
                impl Mean {
                    fn update(&self, value: f64) {}
                    fn merge(&mut self, other: &Self) {}
                    fn finish(&self) -> f64 {
                        0.0
                    }
                }
            ),
            parse_quote!(
                impl Mean {
                    fn update(&mut self, value: f64) {}
                    fn merge(&mut self, other: Self) {}
                    fn finish(&self) -> f64 {
                        0.0
                    }
                }
            ),
            parse_quote!(
                impl Mean {
                    fn update(&mut self, value: f64) {}
                    fn merge(&mut self, other: &Self) {}
                    fn finish(&self, value: f64) -> f64 {
                        0.0
                    }
                }
            ),
            parse_quote!(
                impl<T> Mean<T> {
                    fn update(&mut self, value: f64) {}
                }
            ),
        ] {
            check(item, "an aggregate is `impl Accumulator`");
        }
    }
}
