//! `#[derive(Config)]`: the struct's fields as members of a JSON object.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Expr, ExprLit, Lit, Result};

use crate::field::{Settings, column_name, ident, named};

pub(crate) fn derive(input: DeriveInput) -> Result<TokenStream> {
    let fields = named(&input, "Config")?;
    let name = &input.ident;
    let mut keys = Vec::new();
    let mut reads = Vec::new();
    for field in &fields {
        let settings = Settings::of(&field.attrs, "config", &["name", "default"])?;
        let key = column_name(field, &settings);
        let (member, ty) = (ident(field), &field.ty);
        let fallback = match &settings.default {
            None => quote!(::core::option::Option::None),
            // A text stands for a String.
            Some(Expr::Lit(ExprLit { lit: Lit::Str(text), .. })) => {
                quote!(::core::option::Option::Some(|| ::core::convert::Into::into(#text)))
            }
            Some(default) => quote!(::core::option::Option::Some(|| #default)),
        };
        reads.push(quote!(#member: ::tidemill_sdk::config::member::<#ty>(object, path, #key, #fallback)?));
        keys.push(key);
    }
    Ok(quote! {
        impl ::tidemill_sdk::config::Config for #name {
            fn from_json(
                value: &::tidemill_sdk::json::Value<'_>,
                path: &str,
            ) -> ::core::result::Result<Self, ::std::string::String> {
                let object = ::tidemill_sdk::config::object(value, path, &[#(#keys),*])?;
                ::core::result::Result::Ok(Self { #(#reads),* })
            }
        }
    })
}
