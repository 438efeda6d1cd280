//! `#[pattern]`: what an `impl Detector for T` lacks to be a component: its description, and the exports.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ImplItem, ItemImpl, Result};

use crate::function::doc;

const SHAPE: &str = "#[pattern] stands on `impl Detector for T`, of a type without parameters";

pub(crate) fn pattern(arguments: &TokenStream, item: &ItemImpl) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "#[pattern] takes nothing"));
    }
    let is_detector =
        item.trait_.as_ref().is_some_and(|(_, path, _)| path.segments.last().is_some_and(|last| last.ident == "Detector"));
    if !is_detector || !item.generics.params.is_empty() {
        return Err(Error::new_spanned(&item.self_ty, SHAPE));
    }
    let shapes = item.items.iter().any(|member| matches!(member, ImplItem::Fn(function) if function.sig.ident == "shape"));
    let (component, text) = (&item.self_ty, doc(&item.attrs));
    Ok(quote! {
        #item

        impl ::tidemill_sdk::pattern::Declared for #component {
            const DOC: &'static str = #text;
            const SHAPES: bool = #shapes;
        }

        #[cfg(target_arch = "wasm32")]
        ::tidemill_sdk::__export_pattern!(#component);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    #[test]
    fn what_is_no_detector_is_told_so() {
        let error = pattern(&TokenStream::new(), &parse_quote!(impl Failures {})).expect_err("no trait").to_string();
        assert_eq!(error, SHAPE);
        let error = pattern(&quote!(batch), &parse_quote!(impl Detector for Failures {})).expect_err("no setting").to_string();
        assert_eq!(error, "#[pattern] takes nothing");
    }
}
