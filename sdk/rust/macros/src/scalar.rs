//! `#[function]`: a type of the function's name that calls it for every row, and the exports. What it shares with `#[aggregate]`: arguments
//! that are values, each read from a column of its own.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::{Error, FnArg, ItemFn, Pat, Result, ReturnType, Type};

use crate::field::with_lifetime;
use crate::function::{doc, inferred};

const SHAPE: &str = "a function is `fn(a: A, b: B, ..)` over values (f64, &str, Option<i64>, ..), then `config: &C` if wanted, \
    and gives a value, an Option of one, or a Result of these";

/// Values that a call brings as columns, and a configuration behind them.
pub(crate) struct Arguments {
    values: Vec<(String, Type)>,
    /// The configuration's type.
    pub(crate) config: Option<Type>,
}

impl Arguments {
    /// Those of a signature, without its receiver.
    pub(crate) fn of<'a>(inputs: impl Iterator<Item = &'a FnArg>, shape: &str) -> Result<Self> {
        let mut arguments = Self { values: Vec::new(), config: None };
        for input in inputs {
            let FnArg::Typed(typed) = input else { return Err(Error::new_spanned(input, shape)) };
            // A configuration ends the list.
            if arguments.config.is_some() {
                return Err(Error::new_spanned(input, shape));
            }
            match typed.ty.as_ref() {
                Type::Reference(reference) if !is_borrowed_value(&reference.elem) => {
                    if reference.mutability.is_some() {
                        return Err(Error::new_spanned(input, shape));
                    }
                    arguments.config = Some(reference.elem.as_ref().clone());
                }
                ty => {
                    let Pat::Ident(name) = typed.pat.as_ref() else { return Err(Error::new_spanned(input, shape)) };
                    let name = name.ident.to_string();
                    let name = name.trim_start_matches("r#").trim_start_matches('_');
                    arguments.values.push((name.to_owned(), ty.clone()));
                }
            }
        }
        Ok(arguments)
    }

    /// The fields they are declared as.
    pub(crate) fn fields(&self) -> TokenStream {
        let fields = self.values.iter().map(|(name, ty)| {
            let fixed = with_lifetime(ty, "static");
            quote!(::tidemill_sdk::field::Field::of::<#fixed>(#name))
        });
        quote!([#(#fields),*])
    }

    /// Statements that find their columns in `call`.
    pub(crate) fn bind(&self) -> TokenStream {
        let binds = self.values.iter().enumerate().map(|(at, (_, ty))| {
            let (column, ty) = (column(at), inferred(ty));
            quote!(let #column = <#ty as ::tidemill_sdk::value::Value>::bind(call, &call.columns[#at], call.rows);)
        });
        quote!(#(#binds)*)
    }

    /// They as they are passed for `row`, with a comma behind each; `config` is the expression of the configuration.
    pub(crate) fn passed(&self, config: &TokenStream) -> TokenStream {
        let columns = (0..self.values.len()).map(column);
        let config = self.config.as_ref().map(|_| quote!(#config,));
        quote!(#(::tidemill_sdk::column::Column::at(&#columns, row),)* #config)
    }

    /// The configuration's type, `()` without.
    pub(crate) fn config_type(&self) -> TokenStream {
        self.config.as_ref().map_or_else(|| quote!(()), ToTokens::to_token_stream)
    }
}

fn column(at: usize) -> Ident {
    format_ident!("__column_{at}")
}

/// `str` and `[u8]`: what a value borrows from the batch.
fn is_borrowed_value(ty: &Type) -> bool {
    match ty {
        Type::Path(path) => path.path.is_ident("str"),
        Type::Slice(_) => true,
        _ => false,
    }
}

pub(crate) fn function(arguments: TokenStream, function: ItemFn) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "#[function] takes nothing"));
    }
    let signature = &function.sig;
    if signature.asyncness.is_some() || signature.generics.type_params().next().is_some() {
        return Err(Error::new_spanned(&signature.ident, SHAPE));
    }
    let ReturnType::Type(_, given) = &signature.output else { return Err(Error::new_spanned(signature, SHAPE)) };
    let arguments = Arguments::of(signature.inputs.iter(), SHAPE)?;
    let (name, visibility, config) = (&signature.ident, &function.vis, arguments.config_type());
    let (given, doc, fields) = (with_lifetime(given, "static"), doc(&function.attrs), arguments.fields());
    let (bind, passed) = (arguments.bind(), arguments.passed(&quote!(&self.config)));
    let type_doc = format!("The component around the function `{name}`.");
    Ok(quote! {
        #function

        #[doc = #type_doc]
        #[allow(non_camel_case_types, dead_code)]
        #visibility struct #name {
            config: #config,
        }

        impl ::tidemill_sdk::function::Function for #name {
            fn describe() -> ::tidemill_sdk::call::Description {
                ::tidemill_sdk::function::describe::<#given>(#doc, &#fields)
            }

            fn open(config: &str) -> ::core::result::Result<Self, ::std::string::String> {
                ::core::result::Result::Ok(Self { config: ::tidemill_sdk::config::read::<#config>(config)? })
            }

            fn compute(
                &mut self,
                call: &::tidemill_sdk::call::Call<'_>,
                answer: &mut ::tidemill_sdk::call::ValueAnswer,
            ) -> ::core::result::Result<(), ::std::string::String> {
                #bind
                ::tidemill_sdk::function::each(call, answer, |row| {
                    let _ = row;
                    #name(#passed)
                });
                ::core::result::Result::Ok(())
            }
        }

        // Only WebAssembly exports it; this keeps a native build from calling it dead code.
        const _: fn(&str) -> ::core::result::Result<#name, ::std::string::String> =
            <#name as ::tidemill_sdk::function::Function>::open;

        #[cfg(target_arch = "wasm32")]
        ::tidemill_sdk::__export!(FunctionGuest, #name; "compute" compute);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    /// What the author is told.
    fn check(item: ItemFn) {
        let error = function(TokenStream::new(), item).expect_err("another shape").to_string();
        assert!(error.starts_with("a function is `fn(a: A, b: B, ..)`"), "{error}");
    }

    #[test]
    fn a_function_of_another_shape_is_told_which_shape_it_needs() {
        check(parse_quote!(
            fn f(a: i64) {}
        ));
        check(parse_quote!(
            fn f(config: &Limit, a: i64) -> i64 {
                a
            }
        ));
        check(parse_quote!(
            fn f(a: i64, state: &mut Counter) -> i64 {
                a
            }
        ));
        check(parse_quote!(
            fn f<T: Number>(a: T) -> T {
                a
            }
        ));
        check(parse_quote!(
            fn f((a, b): (i64, i64)) -> i64 {
                a
            }
        ));
    }
}
