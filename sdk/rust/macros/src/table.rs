//! `#[derive(Table)]`: the struct's fields as an entry, those of its key apart from what it holds.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Error, LitStr, Result};

use crate::field::{Settings, column_name, ident, named};
use crate::process::micros;

/// What `#[table(..)]` on the struct says.
#[derive(Default)]
struct Whole {
    name: Option<String>,
    ttl: u64,
    by_wall_clock: bool,
    on_read: bool,
}

impl Whole {
    fn of(input: &DeriveInput) -> Result<Self> {
        let mut whole = Self::default();
        for found in input.attrs.iter().filter(|found| found.path().is_ident("table")) {
            found.parse_nested_meta(|meta| {
                if meta.path.is_ident("name") {
                    whole.name = Some(meta.value()?.parse::<LitStr>()?.value());
                } else if meta.path.is_ident("ttl") {
                    whole.ttl = micros(&meta.value()?.parse()?)?;
                } else if meta.path.is_ident("wall_clock") {
                    whole.by_wall_clock = true;
                } else if meta.path.is_ident("on_read") {
                    whole.on_read = true;
                } else {
                    return Err(meta.error("#[table(..)] on the struct knows: name, ttl, wall_clock, on_read"));
                }
                Ok(())
            })?;
        }
        if whole.ttl == 0 && (whole.by_wall_clock || whole.on_read) {
            return Err(Error::new_spanned(&input.ident, "say how long entries live: #[table(ttl = \"30d\", ..)]"));
        }
        Ok(whole)
    }
}

pub(crate) fn derive(input: DeriveInput) -> Result<TokenStream> {
    let fields = named(&input, "Table")?;
    let name = &input.ident;
    if let Some(lifetime) = input.generics.lifetimes().next() {
        return Err(Error::new_spanned(lifetime, "an entry outlives the batch: own its fields (String, Vec)"));
    }
    let Whole { name: table, ttl, by_wall_clock, on_read } = Whole::of(&input)?;
    let table = table.unwrap_or_else(|| name.to_string().to_lowercase());
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for field in &fields {
        let settings = Settings::of(&field.attrs, "table", &["name", "key"])?;
        let column = column_name(field, &settings);
        let place = if settings.key { &mut keys } else { &mut values };
        place.push((column, ident(field), &field.ty));
    }
    if keys.is_empty() {
        return Err(Error::new_spanned(
            name,
            "mark the fields of the key: #[table(key)]; what is kept once for each key of the step is State",
        ));
    }
    let declared = |fields: &[(String, &syn::Ident, &syn::Type)]| {
        let fields = fields.iter().map(|(column, _, ty)| quote!(::tidemill_sdk::field::Field::of::<#ty>(#column)));
        quote!(&[#(#fields),*])
    };
    let (key_fields, value_fields) = (declared(&keys), declared(&values));
    let key_types: Vec<_> = keys.iter().map(|(_, _, ty)| *ty).collect();
    let key_names: Vec<_> = keys.iter().map(|(_, name, _)| *name).collect();
    let value_types: Vec<_> = values.iter().map(|(_, _, ty)| *ty).collect();
    let value_names: Vec<_> = values.iter().map(|(_, name, _)| *name).collect();
    let value_indices = 0..values.len();
    let (key_type, key, parts) = match (key_types.as_slice(), key_names.as_slice()) {
        ([ty], [name]) => (quote!(#ty), quote!(self.#name.clone()), quote!(let #name = __key;)),
        _ => (quote!((#(#key_types),*)), quote!((#(self.#key_names.clone()),*)), quote!(let (#(#key_names),*) = __key;)),
    };
    let single = key_types.len() == 1;
    let stored = (0..key_types.len()).map(|at| {
        let (ty, at) = (key_types[at], syn::Index::from(at));
        let part = if single { quote!(key) } else { quote!(&key.#at) };
        quote!({
            let mut column = ::tidemill_sdk::output::ColumnBuilder::default();
            for key in keys.clone() {
                <#ty as ::tidemill_sdk::output::OutputValue>::append(#part, &mut column);
            }
            places.push(column.finish(buffer));
        })
    });
    Ok(quote! {
        impl ::tidemill_sdk::table::TableEntry for #name {
            type Key = #key_type;
            const NAME: &'static str = #table;
            const KEY: &'static [::tidemill_sdk::field::Field] = #key_fields;
            const VALUES: &'static [::tidemill_sdk::field::Field] = #value_fields;
            const TTL: (u64, bool, bool) = (#ttl, #by_wall_clock, #on_read);

            fn key(&self) -> Self::Key {
                #key
            }

            fn store_keys<'a>(
                keys: impl ::core::iter::Iterator<Item = &'a Self::Key> + ::core::clone::Clone,
                buffer: &mut ::tidemill_sdk::output::Buffer,
                places: &mut ::std::vec::Vec<::tidemill_sdk::abi::bindings::Column>,
            ) where
                Self::Key: 'a,
            {
                #(#stored)*
            }

            fn load(
                __keys: ::std::vec::Vec<Self::Key>,
                __there: &[bool],
                __call: &::tidemill_sdk::call::Call<'_>,
                __places: &[::tidemill_sdk::abi::bindings::Column],
            ) -> ::std::vec::Vec<::core::option::Option<Self>> {
                let _ = (__call, __places);
                #(let mut #value_names = <#value_types as ::tidemill_sdk::state::StateValue>::load(__call, &__places[#value_indices]);)*
                let mut __entries = ::std::vec::Vec::with_capacity(__keys.len());
                for (__key, __is_there) in ::core::iter::zip(__keys, __there) {
                    // Every column has a value for every entry, also where there is none.
                    #(let #value_names = #value_names.next();)*
                    __entries.push(match (*__is_there, #(#value_names,)*) {
                        (true, #(::core::option::Option::Some(#value_names),)*) => {
                            #parts
                            ::core::option::Option::Some(Self { #(#key_names,)* #(#value_names,)* })
                        }
                        _ => ::core::option::Option::None,
                    });
                }
                __entries
            }

            fn store_values(
                entries: &[::core::option::Option<Self>],
                buffer: &mut ::tidemill_sdk::output::Buffer,
                places: &mut ::std::vec::Vec<::tidemill_sdk::abi::bindings::Column>,
            ) {
                let _ = (entries, &buffer, &places);
                #({
                    let mut column = ::tidemill_sdk::output::ColumnBuilder::default();
                    for entry in entries {
                        match entry {
                            ::core::option::Option::Some(entry) => {
                                <#value_types as ::tidemill_sdk::output::OutputValue>::append(&entry.#value_names, &mut column);
                            }
                            ::core::option::Option::None => column.append_null(),
                        }
                    }
                    places.push(column.finish(buffer));
                })*
            }
        }
    })
}
