//! What the derives share: named fields, their attributes, and lifetimes in types.

use proc_macro2::{Group, Punct, Spacing, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Attribute, Data, DeriveInput, Error, Expr, Field, Fields, Ident, LitStr, Result};

/// The named fields of a struct, or an error that says what the derive is for.
pub(crate) fn named(input: &DeriveInput, derive: &str) -> Result<Vec<Field>> {
    let advice = format!("#[derive({derive})] is for a struct with named fields, one per column");
    if let Some(parameter) = input.generics.params.iter().find(|parameter| !matches!(parameter, syn::GenericParam::Lifetime(_))) {
        return Err(Error::new_spanned(parameter, format!("#[derive({derive})] takes no type parameters")));
    }
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => Ok(fields.named.iter().cloned().collect()),
            Fields::Unnamed(_) | Fields::Unit => Err(Error::new_spanned(&input.ident, advice)),
        },
        Data::Enum(_) | Data::Union(_) => Err(Error::new_spanned(&input.ident, advice)),
    }
}

/// A named field's name as a Rust identifier.
pub(crate) fn ident(field: &Field) -> &Ident {
    field.ident.as_ref().expect("named fields have names")
}

/// What `#[event(..)]`, `#[output(..)]`, `#[state(..)]`, `#[config(..)]` of a field say.
#[derive(Default)]
pub(crate) struct Settings {
    /// `name = "user.country"`
    pub(crate) name: Option<LitStr>,
    /// `first = 0`
    pub(crate) first: Option<Expr>,
    /// `default = 3`
    pub(crate) default: Option<Expr>,
    /// `time`
    pub(crate) time: bool,
    /// `key`
    pub(crate) key: bool,
}

impl Settings {
    /// Reads the attributes called `attribute`; keys not in `allowed` are refused.
    pub(crate) fn of(attributes: &[Attribute], attribute: &str, allowed: &[&str]) -> Result<Self> {
        let mut settings = Self::default();
        for found in attributes.iter().filter(|found| found.path().is_ident(attribute)) {
            found.parse_nested_meta(|meta| {
                let key = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
                match key.as_str() {
                    key if !allowed.contains(&key) => {
                        Err(meta.error(format!("#[{attribute}(..)] knows: {}", allowed.join(", "))))
                    }
                    "name" => meta.value()?.parse().map(|name| settings.name = Some(name)),
                    "first" => meta.value()?.parse().map(|first| settings.first = Some(first)),
                    "default" => meta.value()?.parse().map(|default| settings.default = Some(default)),
                    "time" => {
                        settings.time = true;
                        Ok(())
                    }
                    "key" => {
                        settings.key = true;
                        Ok(())
                    }
                    _ => Err(meta.error("not a setting")),
                }
            })?;
        }
        Ok(settings)
    }
}

/// The column name of a field: the attribute's, else its own (without `r#`).
pub(crate) fn column_name(field: &Field, settings: &Settings) -> String {
    match &settings.name {
        Some(name) => name.value(),
        None => {
            let name = ident(field).to_string();
            name.strip_prefix("r#").map(str::to_owned).unwrap_or(name)
        }
    }
}

/// The tokens with every lifetime but `'static` replaced by `to` (like `'a`), and added to references without one.
pub(crate) fn with_lifetime(tokens: impl ToTokens, to: &str) -> TokenStream {
    let name = Ident::new(to, proc_macro2::Span::call_site());
    let lifetime = || [TokenTree::Punct(Punct::new('\'', Spacing::Joint)), TokenTree::Ident(name.clone())];
    let mut output = Vec::new();
    let mut input = tokens.to_token_stream().into_iter().peekable();
    while let Some(token) = input.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '\'' => match input.next() {
                Some(TokenTree::Ident(old)) if old == "static" => output.extend([TokenTree::Punct(punct), TokenTree::Ident(old)]),
                _ => output.extend(lifetime()),
            },
            TokenTree::Punct(punct) if punct.as_char() == '&' => {
                let named = matches!(input.peek(), Some(TokenTree::Punct(next)) if next.as_char() == '\'');
                output.push(TokenTree::Punct(punct));
                if !named {
                    output.extend(lifetime());
                }
            }
            TokenTree::Group(group) => {
                let mut replaced = Group::new(group.delimiter(), with_lifetime(group.stream(), to));
                replaced.set_span(group.span());
                output.push(TokenTree::Group(replaced));
            }
            other => output.push(other),
        }
    }
    output.into_iter().collect()
}

/// The struct's generics with each lifetime replaced by `to`: `<'a>`, or nothing.
pub(crate) fn arguments(input: &DeriveInput, to: &str) -> TokenStream {
    let lifetime = syn::Lifetime::new(&format!("'{to}"), proc_macro2::Span::call_site());
    let lifetimes = input.generics.lifetimes().map(|_| &lifetime);
    if input.generics.params.is_empty() { TokenStream::new() } else { quote!(<#(#lifetimes),*>) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    #[test]
    fn lifetimes_are_replaced_and_added() {
        let check = |ty: syn::Type, expected: &str| assert_eq!(with_lifetime(ty, "b").to_string(), expected);
        check(parse_quote!(&str), "& 'b str");
        check(parse_quote!(Option<&'a [u8]>), "Option < & 'b [u8] >");
        check(parse_quote!(Json<'_>), "Json < 'b >");
        check(parse_quote!(Option<&'static str>), "Option < & 'static str >");
        check(parse_quote!((bool, Alert<'a>)), "(bool , Alert < 'b >)");
    }

    #[test]
    fn unknown_settings_are_refused_by_name() {
        let field: Field = parse_quote!(#[event(nmae = "x")] name: i64);
        let error = Settings::of(&field.attrs, "event", &["name"]).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("#[event(..)] knows: name"));
    }

    #[test]
    fn derives_say_what_they_are_for() {
        let check = |input: DeriveInput, told: &str| {
            let error = named(&input, "Event").expect_err(told).to_string();
            assert!(error.starts_with(told), "{error}");
        };
        check(
            parse_quote!(
                struct E(i64);
            ),
            "#[derive(Event)] is for a struct with named fields, one per column",
        );
        check(
            parse_quote!(
                enum E {
                    A,
                }
            ),
            "#[derive(Event)] is for a struct with named fields, one per column",
        );
        check(
            parse_quote!(
                struct E<T> {
                    a: T,
                }
            ),
            "#[derive(Event)] takes no type parameters",
        );
    }
}
