//! Writes `sdk/rust/src/abi/bindings.rs`: the WIT's records as `repr(C)` structs, whose layout on wasm32 is the canonical ABI's,
//! with assertions that hold the compiler to it, and the signature of every function, so that any change of the WIT shows.

use std::fmt::Write as _;

use anyhow::Result;
use wit_parser::abi::{AbiVariant, WasmType};
use wit_parser::{Docs, Function, Resolve, SizeAlign, Type, TypeDefKind, TypeId, World, WorldItem};

use crate::wit::Packages;

const HEAD: &str = "\
//! The WIT's records as the canonical ABI lays them out. Generated from `wit/`; do not edit.
//!
//! `cargo xtask generate` writes this file, and a test of `tidemill-build` compares it with the WIT.
";

/// The file's text.
pub fn generate() -> Result<String> {
    let packages = Packages::load()?;
    let resolve = &packages.resolve;
    let mut sizes = SizeAlign::default();
    sizes.fill(resolve);
    let mut writer = Writer { resolve, sizes: &sizes, indent: "", text: HEAD.to_owned() };

    let columns = &resolve.interfaces[resolve.packages[packages.component].interfaces["columns"]];
    for id in columns.types.values() {
        writer.record(*id);
    }
    let logging = &resolve.interfaces[resolve.packages[packages.component].interfaces["logging"]];
    writer.open_module("logging", "Log lines.");
    for function in logging.functions.values() {
        writer.import("tidemill:component/logging@1.0.0", function, "Writes one line.", "level: i32, message: *const u8");
    }
    writer.close_module();
    let metrics = &resolve.interfaces[resolve.packages[packages.metrics].interfaces["metrics"]];
    writer.open_module("metrics", "Measurements.");
    for id in metrics.types.values() {
        writer.record(*id);
    }
    writer.line("");
    for function in metrics.functions.values() {
        let parameters = "measurements: *const Measurement";
        writer.import("tidemill:metrics/metrics@1.0.0", function, "Hands over what was measured.", parameters);
    }
    writer.close_module();
    let kinds = [
        (packages.rule, "rule"),
        (packages.transform, "transform"),
        (packages.function, "function"),
        (packages.aggregate, "aggregate"),
        (packages.process, "process"),
        (packages.pattern, "pattern"),
    ];
    for (package, name) in kinds {
        let world = &resolve.worlds[resolve.packages[package].worlds[name]];
        writer.world(name, world);
    }
    Ok(writer.text)
}

struct Writer<'a> {
    resolve: &'a Resolve,
    sizes: &'a SizeAlign,
    indent: &'static str,
    text: String,
}

impl Writer<'_> {
    fn line(&mut self, line: &str) {
        let indent = if line.is_empty() { "" } else { self.indent };
        writeln!(self.text, "{indent}{line}").expect("a String takes everything");
    }

    fn docs(&mut self, docs: &Docs) {
        for line in docs.contents.as_deref().unwrap_or("Undocumented.").trim().lines() {
            self.line(format!("/// {line}").trim_end());
        }
    }

    fn open_module(&mut self, name: &str, doc: &str) {
        self.line("");
        self.line(&format!("/// {doc}"));
        self.line(&format!("pub mod {name} {{"));
        self.indent = "    ";
    }

    fn close_module(&mut self) {
        self.indent = "";
        self.line("}");
    }

    fn world(&mut self, name: &str, world: &World) {
        self.open_module(name, world.docs.contents.as_deref().unwrap_or("").lines().next().unwrap_or_default());
        for item in world.imports.values() {
            let WorldItem::Type { id, .. } = item else { continue };
            // What a world uses of `columns` is an alias, written there already.
            if !matches!(self.resolve.types[*id].kind, TypeDefKind::Type(_)) {
                self.record(*id);
            }
        }
        for item in world.exports.values() {
            if let WorldItem::Function(function) = item {
                let signature = self.signature(AbiVariant::GuestExport, function);
                self.line("");
                self.line(&format!("// export {}: {signature}", function.name));
            }
        }
        self.close_module();
    }

    /// A record as a struct; enums stand as the byte they are.
    fn record(&mut self, id: TypeId) {
        let definition = &self.resolve.types[id];
        let TypeDefKind::Record(record) = &definition.kind else { return };
        let name = camel(definition.name.as_deref().unwrap_or_default());
        self.line("");
        self.docs(&definition.docs);
        self.line("#[derive(Debug, Clone, Copy)]");
        self.line("#[repr(C)]");
        self.line(&format!("pub struct {name} {{"));
        for field in &record.fields {
            let indent = self.indent;
            self.indent = if indent.is_empty() { "    " } else { "        " };
            self.docs(&field.docs);
            self.line(&format!("pub {}: {},", field.name.replace('-', "_"), self.rust(&field.ty)));
            self.indent = indent;
        }
        self.line("}");
        let size = self.sizes.size(&Type::Id(id)).size_wasm32();
        self.line("");
        self.line("#[cfg(target_arch = \"wasm32\")]");
        self.line(&format!("const _: () = assert!(size_of::<{name}>() == {size});"));
    }

    fn rust(&self, ty: &Type) -> String {
        // Records of a world stand one module deeper, and those of `columns` where the worlds do.
        let lists = if self.indent.len() > 4 { "super::super::" } else { "super::" };
        let shared = if self.indent.len() > 4 { "super::" } else { "" };
        match ty {
            Type::Bool | Type::U8 => "u8".to_owned(),
            Type::U32 => "u32".to_owned(),
            Type::U64 => "u64".to_owned(),
            Type::String => format!("{lists}List"),
            Type::Id(id) => match &self.resolve.types[*id].kind {
                TypeDefKind::List(_) => format!("{lists}List"),
                TypeDefKind::Option(_) => format!("{lists}OptionalList"),
                TypeDefKind::Enum(_) => "u8".to_owned(),
                TypeDefKind::Type(alias) => self.rust(alias),
                // The only record that stands in another is a column or a field.
                TypeDefKind::Record(_) => {
                    format!("{shared}{}", camel(self.resolve.types[*id].name.as_deref().unwrap_or_default()))
                }
                other => panic!("the SDK has no layout for a {}", other.as_str()),
            },
            other => panic!("the SDK has no layout for {other:?}"),
        }
    }

    /// `parameters` are those before the length of the last one, as Rust has them.
    fn import(&mut self, module: &str, function: &Function, doc: &str, parameters: &str) {
        self.line(&format!("// import {}: {}", function.name, self.signature(AbiVariant::GuestImport, function)));
        self.line("#[cfg(target_arch = \"wasm32\")]");
        self.line(&format!("#[link(wasm_import_module = \"{module}\")]"));
        self.line("unsafe extern \"C\" {");
        self.line(&format!("    /// {doc}"));
        self.line(&format!("    pub fn {}({parameters}, length: usize);", function.name));
        self.line("}");
    }

    /// The core function's type.
    fn signature(&self, variant: AbiVariant, function: &Function) -> String {
        let signature = self.resolve.wasm_signature(variant, function);
        let names = |types: &[WasmType]| types.iter().map(|ty| format!("{ty:?}").to_lowercase()).collect::<Vec<_>>().join(", ");
        format!("({}) -> ({})", names(&signature.params), names(&signature.results))
    }
}

fn camel(name: &str) -> String {
    let part =
        |part: &str| part.chars().next().map(|first| first.to_ascii_uppercase().to_string() + &part[1..]).unwrap_or_default();
    name.split('-').map(part).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_bindings_are_the_wits() {
        let generated = super::generate().expect("the WIT is whole");
        let committed = include_str!("../../rust/src/abi/bindings.rs");
        let advice = "the WIT changed: `cargo xtask generate`, then look at sdk/rust/src/abi";
        assert!(generated == committed, "{advice}");
    }
}
