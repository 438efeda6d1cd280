//! The query of a request, read into a type. One that does not fit it is refused with the parameters there are.

use axum::extract::Query;
use http::Uri;
use serde::de::DeserializeOwned;

use crate::problem::{Kind, Problem};

/// The parameters of `uri`; `known` tells whoever is refused which ones there are.
pub(crate) fn parameters<T: DeserializeOwned>(uri: &Uri, known: &str) -> Result<T, Problem> {
    let parsed = Query::<T>::try_from_uri(uri);
    parsed.map(|query| query.0).map_err(|rejection| Problem::new(Kind::BadParameter, rejection.body_text(), known))
}
