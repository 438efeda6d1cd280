//! `#[derive(Output)]`: the struct's fields as columns under way.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{DeriveInput, Error, LitStr, Result};

use crate::field::{Settings, arguments, column_name, ident, named, with_lifetime};

pub(crate) fn derive(input: DeriveInput) -> Result<TokenStream> {
    let fields = named(&input, "Output")?;
    let name = &input.ident;
    let visibility = &input.vis;
    let builders = format_ident!("{name}Builders");
    let builders_doc = format!("The columns of [`{name}`] under way.");

    let mut time = quote!(::core::option::Option::None);
    let mut declared = Vec::new();
    let mut members = Vec::new();
    let mut names = Vec::new();
    for field in &fields {
        let settings = Settings::of(&field.attrs, "output", &["name", "time"])?;
        let column = column_name(field, &settings);
        if settings.time {
            if !time.to_string().ends_with("None") {
                return Err(Error::new_spanned(field, "one field is the rows' event time, not two"));
            }
            time = quote!(::core::option::Option::Some(#column));
        }
        let member = ident(field);
        let fixed = with_lifetime(&field.ty, "static");
        declared.push(quote!(::tidemill_sdk::field::Field::of::<#fixed>(#column)));
        members.push(quote! {
            #member: ::tidemill_sdk::output::ColumnBuilder<<#fixed as ::tidemill_sdk::output::OutputValue>::Values>
        });
        names.push(member);
    }
    let (any, borrowed) = (arguments(&input, "_"), arguments(&input, "row"));
    let side = side_name(&input)?.map(|side| {
        quote! {
            impl ::tidemill_sdk::process::SideOutput for #name #any {
                const NAME: &'static str = #side;
            }
        }
    });
    Ok(quote! {
        #side

        #[doc = #builders_doc]
        #[derive(Default)]
        #visibility struct #builders {
            #(#members),*
        }

        impl ::tidemill_sdk::output::Builders for #builders {
            fn append_null(&mut self) {
                #(self.#names.append_null();)*
            }

            fn append_nothing(&mut self) {
                #(self.#names.append_nothing();)*
            }

            fn truncate(&mut self, rows: usize) {
                #(self.#names.truncate(rows);)*
            }

            fn finish(
                self,
                buffer: &mut ::tidemill_sdk::output::Buffer,
                places: &mut ::std::vec::Vec<::tidemill_sdk::abi::bindings::Column>,
            ) {
                #(places.push(self.#names.finish(buffer));)*
            }
        }

        impl ::tidemill_sdk::output::Output for #name #any {
            const FIELDS: &'static [::tidemill_sdk::field::Field] = &[#(#declared),*];
            const TIME: ::core::option::Option<&'static str> = #time;
            type Builders = #builders;
            type At<'row> = #name #borrowed;

            fn append(&self, builders: &mut #builders) {
                #(::tidemill_sdk::output::OutputValue::append(&self.#names, &mut builders.#names);)*
            }
        }
    })
}

/// `#[output(side = "late")]` on the struct: it is an output beside the main one.
fn side_name(input: &DeriveInput) -> Result<Option<String>> {
    let mut side = None;
    for found in input.attrs.iter().filter(|found| found.path().is_ident("output")) {
        found.parse_nested_meta(|meta| {
            if !meta.path.is_ident("side") {
                return Err(meta.error("#[output(..)] on the struct knows: side"));
            }
            side = Some(meta.value()?.parse::<LitStr>()?.value());
            Ok(())
        })?;
    }
    Ok(side)
}
