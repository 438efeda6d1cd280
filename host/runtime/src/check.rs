//! The door: what is refused before anything of it is compiled.
//!
//! ```text
//! size → precompiled? → WebAssembly? → a component? → shape → valid? → imports granted? → which kind, which version
//! ```

use wasmparser::component_types::ComponentEntityType;
use wasmparser::types::Types;
use wasmparser::{Parser, Validator, WasmFeatures};
use wasmtime::Engine;

use crate::component::Kind;
use crate::grant::Grants;
use crate::limits::ShapeLimits;
use crate::refused::Refused;
use crate::shape::{self, malformed};
use crate::wire::{COLUMNS_PACKAGE, LOGGING_INTERFACE, METRICS_INTERFACE};

/// What a component measures crosses by this package.
const METRICS_PACKAGE: &str = "tidemill:metrics";

/// What the door lets through.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) kind: Kind,
    /// Grants it makes use of.
    pub(crate) uses: Grants,
    /// What it says of its arguments (`room.rs`).
    pub(crate) arguments_stay: bool,
}

/// Checks an upload. Takes time in proportion to its bytes.
pub(crate) fn check(wasm: &[u8], features: WasmFeatures, limits: &ShapeLimits, grants: &Grants) -> Result<Checked, Refused> {
    if wasm.len() > limits.component_bytes {
        return Err(Refused::TooLarge { bytes: wasm.len(), bytes_max: limits.component_bytes });
    }
    if Engine::detect_precompiled(wasm).is_some() {
        return Err(Refused::Precompiled);
    }
    if Parser::is_core_wasm(wasm) {
        // Broken ones are told so: nobody shall look for a way to make a component of them.
        Validator::new_with_features(features).validate_all(wasm).map_err(malformed)?;
        return Err(Refused::CoreModule);
    }
    if !Parser::is_component(wasm) {
        let is_text = wasm.trim_ascii_start().starts_with(b"(") || wasm.starts_with(b";;");
        return Err(if is_text { Refused::Text } else { Refused::NotWasm });
    }
    let surface = shape::measure(wasm, limits)?;
    let types = Validator::new_with_features(features).validate_all(wasm).map_err(malformed)?;
    let mut uses = Vec::new();
    for name in &surface.imports {
        if let Some(grant) = grants.iter().find(|grant| grant.interface() == name) {
            uses.push(grant);
        } else {
            import(name, &types)?;
        }
    }
    let (kind, uses) = (kind(&surface.exports)?, uses.into_iter().collect());
    Ok(Checked { kind, uses, arguments_stay: surface.arguments_stay })
}

fn import(name: &str, types: &Types) -> Result<(), Refused> {
    let (path, version) = name.split_once('@').unwrap_or((name, ""));
    let of_package = |package: &str| path.strip_prefix(package).is_some_and(|rest| rest.starts_with('/'));
    let (columns, metrics) = (of_package(COLUMNS_PACKAGE), of_package(METRICS_PACKAGE));
    let ours = columns || metrics;
    // Minor versions only add, so that a component built for an older one runs; a newer one may need what is not here.
    if ours && !version.parse::<semver::Version>().is_ok_and(|version| version.major == 1 && version.minor == 0) {
        let served = if columns { "tidemill:component 1.0" } else { "tidemill:metrics 1.0" };
        return Err(Refused::Version { name: name.to_owned(), served });
    }
    let served = [LOGGING_INTERFACE, METRICS_INTERFACE];
    let function = served.iter().any(|served| served.split_once('@').is_some_and(|(served, _)| served == path));
    if (ours && function) || only_types(name, types) {
        return Ok(());
    }
    let remedy = if path.starts_with("wasi:") {
        "Leave files, clocks, randomness, sockets and standard output alone: time comes from the events, words go to the log; or build with the SDK, which stubs what a toolchain imports by itself"
    } else {
        "Remove what needs it"
    };
    Err(Refused::Import { name: name.to_owned(), granted: served.join("`, `"), remedy })
}

/// A world that uses an interface of types imports that interface, an instance with nothing to call, and the types.
fn only_types(name: &str, types: &Types) -> bool {
    let is_type = |ty: &ComponentEntityType| matches!(ty, ComponentEntityType::Type { .. });
    match types.as_ref().component_item_for_import(name).map(|item| item.ty) {
        Some(ComponentEntityType::Instance(instance)) => types[instance].exports.values().all(|item| is_type(&item.ty)),
        Some(ty) => is_type(&ty),
        None => false,
    }
}

/// The kind whose exports are there. Further exports are no harm: some toolchains leave their own.
fn kind(exports: &[String]) -> Result<Kind, Refused> {
    let has = |name: &str| exports.iter().any(|export| export == name);
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| has(kind.call())).collect();
    let kind = match kinds.as_slice() {
        [kind] => *kind,
        [first, second, ..] => {
            return Err(Refused::Exports(format!(
                "it exports both `{}` and `{}`: a component is a {first} or a {second}, make two of it",
                first.call(),
                second.call()
            )));
        }
        [] => {
            let found = if exports.is_empty() { "nothing".to_owned() } else { format!("`{}`", exports.join("`, `")) };
            let found = crate::text::clean(&found, 200);
            return Err(Refused::Exports(format!(
                "it exports {found}: a rule exports `describe`, `open` and `evaluate`, a transform `describe`, `open` and `apply`, \
                 a function `describe`, `open` and `compute`, an aggregate `describe`, `open`, `update`, `merge`, `retract` and `finish`, a process `describe`, `open`, `wants` and `process`"
            )));
        }
    };
    for export in ["describe", "open"].iter().chain(kind.further()) {
        if !has(export) {
            return Err(Refused::Exports(format!(
                "it exports `{}` but not `{export}`: world `{}` has both",
                kind.call(),
                kind.world()
            )));
        }
    }
    Ok(kind)
}
