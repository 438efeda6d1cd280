//! From a core module to a component: which world it fills is read off its exports, and what else it imports off its imports.

use std::fmt;

use anyhow::{Context, Result, bail};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use crate::wit::{self, Packages};

/// What a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComponentKind {
    /// A verdict per row.
    Rule,
    /// Rows out per row in.
    Transform,
    /// A value per row, for expressions.
    Function,
    /// A value per group of rows, for windows.
    Aggregate,
    /// Rows out per row and timer, with tables.
    Process,
    /// Matches of rows that follow each other.
    Pattern,
}

impl ComponentKind {
    /// The world it fills.
    fn world(self) -> &'static str {
        match self {
            Self::Rule => "tidemill:rule/rule@1.0.0",
            Self::Transform => "tidemill:transform/transform@1.0.0",
            Self::Function => "tidemill:function/function@1.0.0",
            Self::Aggregate => "tidemill:aggregate/aggregate@1.0.0",
            Self::Process => "tidemill:process/process@1.0.0",
            Self::Pattern => "tidemill:pattern/pattern@1.0.0",
        }
    }

    /// The export that tells it from the others.
    fn export(self) -> &'static str {
        match self {
            Self::Rule => "evaluate",
            Self::Transform => "apply",
            Self::Function => "compute",
            Self::Aggregate => "update",
            Self::Process => "process",
            Self::Pattern => "judge",
        }
    }
}

impl fmt::Display for ComponentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rule => "a rule",
            Self::Transform => "a transform",
            Self::Function => "a function",
            Self::Aggregate => "an aggregate",
            Self::Process => "a process",
            Self::Pattern => "a pattern",
        })
    }
}

const KINDS: [ComponentKind; 6] = [
    ComponentKind::Rule,
    ComponentKind::Transform,
    ComponentKind::Function,
    ComponentKind::Aggregate,
    ComponentKind::Process,
    ComponentKind::Pattern,
];

/// Makes a component of a core module that a guest compiler emitted. Bytes that are a component already come back as they are.
///
/// Errors say what the module lacks: an export of its kind, or an import nobody has.
pub fn componentize(module: &[u8]) -> Result<(ComponentKind, Vec<u8>)> {
    let shape = Shape::read(module)?;
    let is_there = |kind: &ComponentKind| shape.exports.iter().any(|export| export == kind.export());
    let kinds: Vec<ComponentKind> = KINDS.into_iter().filter(is_there).collect();
    let kind = match kinds.as_slice() {
        [kind] => *kind,
        [] => bail!(
            "the module has no component; put #[rule], #[transform] or #[function] on a function, or #[aggregate], #[process] or #[pattern] on an impl"
        ),
        [first, second, ..] => bail!("the module is {first} and {second}; a component is of one kind: split the crate"),
    };
    let mut world = format!("package tidemill:built;\nworld built {{\n    include {};\n", kind.world());
    for import in shape.imports.iter().filter(|import| !import.starts_with("tidemill:component/")) {
        if !import.starts_with("tidemill:") {
            bail!("the module imports `{import}`, which no host grants; components have no WASI: leave out what needs it");
        }
        world.push_str(&format!("    import {import};\n"));
    }
    world.push_str("}\n");

    let mut packages = Packages::load()?;
    let built = wit::push(&mut packages.resolve, "built.wit", &world)?;
    let world = packages.resolve.select_world(&[built], Some("built"))?;
    let mut module = module.to_vec();
    embed_component_metadata(&mut module, &packages.resolve, world, StringEncoding::UTF8)?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .context("the module does not fit its world; is the SDK's version the host's?")?;
    Ok((kind, component))
}

/// What a core module imports and exports by name.
struct Shape {
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Shape {
    /// Reads the import and export sections: enough of the format to tell modules apart, everything else is the encoder's job.
    fn read(module: &[u8]) -> Result<Self> {
        let Some(mut bytes) = module.strip_prefix(b"\0asm") else { bail!("not a WebAssembly file") };
        match bytes.split_off(..4) {
            Some([1, 0, 0, 0]) => {}
            Some([_, _, 1, 0]) => bail!("already a component; `tidemill push` takes it as it is"),
            Some(_) | None => bail!("a WebAssembly file of an unknown version"),
        }
        let mut shape = Self { imports: Vec::new(), exports: Vec::new() };
        while let Some(id) = bytes.split_off_first() {
            let length = number(&mut bytes)?;
            let mut section = bytes.split_off(..length).context("a section is cut off")?;
            match id {
                2 => {
                    for _ in 0..number(&mut section)? {
                        let from = name(&mut section)?;
                        name(&mut section)?;
                        skip_import_type(&mut section)?;
                        if !shape.imports.contains(&from) {
                            shape.imports.push(from);
                        }
                    }
                }
                7 => {
                    for _ in 0..number(&mut section)? {
                        shape.exports.push(name(&mut section)?);
                        section.split_off_first().context("an export is cut off")?;
                        number(&mut section)?;
                    }
                }
                _ => {}
            }
        }
        Ok(shape)
    }
}

/// An unsigned LEB128 number.
fn number(bytes: &mut &[u8]) -> Result<usize> {
    let mut value = 0usize;
    for shift in (0..35).step_by(7) {
        let byte = bytes.split_off_first().context("a number is cut off")?;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    bail!("a number is too long")
}

fn name(bytes: &mut &[u8]) -> Result<String> {
    let length = number(bytes)?;
    let name = bytes.split_off(..length).context("a name is cut off")?;
    Ok(String::from_utf8_lossy(name).into_owned())
}

fn skip_import_type(bytes: &mut &[u8]) -> Result<()> {
    match bytes.split_off_first().context("an import is cut off")? {
        0 => drop(number(bytes)?),
        3 => drop(bytes.split_off(..2)),
        kind @ (1 | 2) => {
            if *kind == 1 {
                bytes.split_off_first();
            }
            let flags = number(bytes)?;
            number(bytes)?;
            if flags & 1 == 1 {
                number(bytes)?;
            }
        }
        kind => bail!("an import of unknown kind {kind}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module with these exports (functions of type 0) and imports, and nothing behind them: enough to be told apart.
    fn module(imports: &[&str], exports: &[&str]) -> Vec<u8> {
        let name = |name: &str| [&[name.len() as u8], name.as_bytes()].concat();
        let section = |id: u8, items: Vec<Vec<u8>>| {
            let body = [vec![items.len() as u8], items.concat()].concat();
            [vec![id, body.len() as u8], body].concat()
        };
        let imports = imports.iter().map(|import| [name(import), name("f"), vec![0, 0]].concat()).collect();
        let exports = exports.iter().map(|export| [name(export), vec![0, 0]].concat()).collect();
        [b"\0asm\x01\0\0\0".to_vec(), section(2, imports), section(7, exports)].concat()
    }

    #[test]
    fn says_what_is_wrong_with_a_module() {
        let check = |bytes: &[u8], error: &str| {
            let found = componentize(bytes).expect_err(error).to_string();
            assert!(found.starts_with(error), "{found}");
        };
        check(b"PK", "not a WebAssembly file");
        check(b"\0asm\x0d\0\x01\0", "already a component");
        check(b"\0asm\x01\0\0\0\x02\xff", "a number is cut off");
        check(&module(&[], &["describe"]), "the module has no component");
        check(&module(&[], &["evaluate", "apply"]), "the module is a rule and a transform");
        check(&module(&[], &["update", "compute"]), "the module is a function and an aggregate");
        check(&module(&["wasi_snapshot_preview1"], &["apply"]), "the module imports `wasi_snapshot_preview1`");
        check(&module(&["tidemill:nothing/here@1.0.0"], &["apply"]), "built.wit does not parse");
        check(&module(&[], &["evaluate"]), "the module does not fit its world");
    }
}
