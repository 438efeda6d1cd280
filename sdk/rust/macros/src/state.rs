//! `#[derive(State)]`: the struct's fields as keyed state.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Error, Expr, ExprLit, ExprUnary, Lit, Result, UnOp};

use crate::field::{Settings, column_name, ident, named};

pub(crate) fn derive(input: DeriveInput) -> Result<TokenStream> {
    let fields = named(&input, "State")?;
    let name = &input.ident;
    if let Some(lifetime) = input.generics.lifetimes().next() {
        return Err(Error::new_spanned(lifetime, "state outlives the batch: own its fields (String, Vec)"));
    }
    if fields.is_empty() {
        return Err(Error::new_spanned(name, "state without fields: leave the argument out"));
    }
    let mut declared = Vec::new();
    let mut names = Vec::new();
    let mut types = Vec::new();
    for field in &fields {
        let settings = Settings::of(&field.attrs, "state", &["name", "first"])?;
        let column = column_name(field, &settings);
        let ty = &field.ty;
        let first = match &settings.first {
            Some(first) => {
                let text = json(first)?;
                quote!(::core::option::Option::Some(#text))
            }
            None => quote!(<#ty as ::tidemill_sdk::field::FieldType>::FIRST),
        };
        declared.push(quote! {
            ::tidemill_sdk::field::StateField { field: ::tidemill_sdk::field::Field::of::<#ty>(#column), first: #first }
        });
        names.push(ident(field));
        types.push(ty);
    }
    let indices = 0..names.len();
    Ok(quote! {
        impl ::tidemill_sdk::state::State for #name {
            const FIELDS: &'static [::tidemill_sdk::field::StateField] = &[#(#declared),*];

            fn load(call: &::tidemill_sdk::call::Call<'_>) -> ::std::vec::Vec<Self> {
                #(let mut #names = <#types as ::tidemill_sdk::state::StateValue>::load(call, &call.state[#indices]);)*
                let mut states = ::std::vec::Vec::with_capacity(call.keys);
                while let (#(::core::option::Option::Some(#names),)*) = (#(#names.next(),)*) {
                    states.push(Self { #(#names),* });
                }
                states
            }

            fn store(
                states: &[Self],
                buffer: &mut ::tidemill_sdk::output::Buffer,
                places: &mut ::std::vec::Vec<::tidemill_sdk::abi::bindings::Column>,
            ) {
                #({
                    let mut column = ::tidemill_sdk::output::ColumnBuilder::default();
                    for state in states {
                        <#types as ::tidemill_sdk::output::OutputValue>::append(&state.#names, &mut column);
                    }
                    places.push(column.finish(buffer));
                })*
            }
        }
    })
}

/// A literal as JSON text.
fn json(first: &Expr) -> Result<String> {
    let (sign, literal) = match first {
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => ("-", expr.as_ref()),
        other => ("", other),
    };
    let Expr::Lit(ExprLit { lit, .. }) = literal else {
        return Err(Error::new_spanned(first, "a first value is a literal: a number, true, false, or a text"));
    };
    match lit {
        Lit::Int(number) => Ok(format!("{sign}{}", number.base10_digits())),
        Lit::Float(number) => Ok(format!("{sign}{}", number.base10_digits())),
        Lit::Bool(yes) if sign.is_empty() => Ok(yes.value.to_string()),
        Lit::Str(text) if sign.is_empty() => Ok(quote_json(&text.value())),
        _ => Err(Error::new_spanned(first, "a first value is a number, true, false, or a text")),
    }
}

fn quote_json(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if character < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(character))),
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}
