//! `#[process]`: what an `impl Process for T` lacks to be a component: its description, and the exports.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ImplItem, ItemImpl, LitStr, Result};

use crate::function::doc;

const SHAPE: &str = "#[process] stands on `impl Process for T`, of a type without parameters";

pub(crate) fn process(arguments: TokenStream, item: ItemImpl) -> Result<TokenStream> {
    let is_process =
        item.trait_.as_ref().is_some_and(|(_, path, _)| path.segments.last().is_some_and(|last| last.ident == "Process"));
    if !is_process || !item.generics.params.is_empty() {
        return Err(Error::new_spanned(&item.self_ty, SHAPE));
    }
    let (ttl, by_wall_clock) = state_ttl(arguments)?;
    let has_timers = item.items.iter().any(|member| matches!(member, ImplItem::Fn(function) if function.sig.ident == "on_timer"));
    let (component, text) = (&item.self_ty, doc(&item.attrs));
    Ok(quote! {
        #item

        impl ::tidemill_sdk::process::Declared for #component {
            const DOC: &'static str = #text;
            const TIMERS: bool = #has_timers;
            const STATE_TTL: (u64, bool) = (#ttl, #by_wall_clock);
        }

        #[cfg(target_arch = "wasm32")]
        ::tidemill_sdk::__export_process!(#component);
    })
}

/// µs, 0 for ever, and whether by the host's clock.
fn state_ttl(arguments: TokenStream) -> Result<(u64, bool)> {
    let (mut ttl, mut by_wall_clock) = (0, false);
    let parser = syn::meta::parser(|meta| {
        if meta.path.is_ident("state_ttl") {
            ttl = micros(&meta.value()?.parse()?)?;
            Ok(())
        } else if meta.path.is_ident("wall_clock") {
            by_wall_clock = true;
            Ok(())
        } else {
            Err(meta.error("#[process(..)] knows: state_ttl, wall_clock"))
        }
    });
    syn::parse::Parser::parse2(parser, arguments)?;
    Ok((ttl, by_wall_clock))
}

/// `90s`, `30d` as µs.
pub(crate) fn micros(text: &LitStr) -> Result<u64> {
    let written = text.value();
    let (digits, unit) = written.split_at(written.find(|any: char| !any.is_ascii_digit()).unwrap_or(written.len()));
    let scale = match unit {
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000_u64,
        _ => 0,
    };
    match digits.parse::<u64>().ok().and_then(|number| number.checked_mul(scale)).filter(|micros| *micros > 0) {
        Some(micros) => Ok(micros),
        None => Err(Error::new_spanned(text, "write an integer above 0 and ms, s, m, h or d: `30d`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    #[test]
    fn times_are_an_integer_and_a_unit() {
        assert_eq!(micros(&parse_quote!("90s")).expect("a time"), 90_000_000);
        for wrong in ["", "0s", "5", "s", "1w", "-1s", "99999999999999999999d"] {
            let text = LitStr::new(wrong, proc_macro2::Span::call_site());
            assert!(micros(&text).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_process_is_told_so() {
        let error = process(TokenStream::new(), parse_quote!(impl Carts {})).expect_err("no trait").to_string();
        assert_eq!(error, SHAPE);
        let error = process(quote!(ttl = "1h"), parse_quote!(impl Process for Carts {})).expect_err("no setting").to_string();
        assert_eq!(error, "#[process(..)] knows: state_ttl, wall_clock");
    }
}
