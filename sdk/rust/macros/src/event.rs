//! `#[derive(Event)]`: the struct's columns, and how a row of them becomes the struct.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{DeriveInput, Result};

use crate::field::{Settings, arguments, column_name, ident, named, with_lifetime};

pub(crate) fn derive(input: DeriveInput) -> Result<TokenStream> {
    let fields = named(&input, "Event")?;
    let name = &input.ident;
    let visibility = &input.vis;
    let columns = format_ident!("{name}Columns");
    let columns_doc = format!("The columns of [`{name}`] in a batch.");

    let mut declared = Vec::new();
    let mut members = Vec::new();
    let mut binds = Vec::new();
    let mut gets = Vec::new();
    let mut names = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let settings = Settings::of(&field.attrs, "event", &["name"])?;
        let column = column_name(field, &settings);
        let (member, member_visibility) = (ident(field), &field.vis);
        let (fixed, borrowed) = (with_lifetime(&field.ty, "static"), with_lifetime(&field.ty, "batch"));
        let doc = format!("Column `{column}`.");
        declared.push(quote!(::tidemill_sdk::field::Field::of::<#fixed>(#column)));
        members.push(quote! {
            #[doc = #doc]
            #member_visibility #member: <#borrowed as ::tidemill_sdk::value::Value>::Column<'batch>
        });
        binds.push(quote! {
            #member: <#borrowed as ::tidemill_sdk::value::Value>::bind(call, &call.columns[#index], call.rows)
        });
        names.push(member);
        gets.push(quote!(#member: ::tidemill_sdk::column::Column::at(&columns.#member, row)));
    }
    let (any, borrowed) = (arguments(&input, "_"), arguments(&input, "batch"));
    Ok(quote! {
        #[doc = #columns_doc]
        #[allow(dead_code)]
        #visibility struct #columns<'batch> {
            #(#members,)*
            batch: ::core::marker::PhantomData<&'batch ()>,
        }

        impl ::tidemill_sdk::event::Event for #name #any {
            const FIELDS: &'static [::tidemill_sdk::field::Field] = &[#(#declared),*];
            type Columns<'batch> = #columns<'batch>;
            type Row<'batch> = #name #borrowed;

            fn bind<'batch>(call: &::tidemill_sdk::call::Call<'batch>) -> #columns<'batch> {
                #columns { #(#binds,)* batch: ::core::marker::PhantomData }
            }

            #[inline(always)]
            fn row<'batch>(
                columns: &Self::Columns<'batch>,
                row: ::tidemill_sdk::abi::trusted::Row,
            ) -> Self::Row<'batch> {
                #name { #(#gets),* }
            }
        }

        // A rule over columns reads the columns and never a row, and that is no field too many.
        const _: () = {
            #[allow(dead_code)]
            fn read(row: &#name #any) {
                let _ = (#(&row.#names,)*);
            }
        };
    })
}
