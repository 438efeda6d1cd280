//! Counts what makes compiling expensive, in one pass, before anything is validated or compiled.

use wasmparser::{FunctionBody, Operator, Parser, Payload};

use crate::limits::ShapeLimits;
use crate::refused::Refused;
use crate::room::SECTION;

/// What the outermost component asks for and offers, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Surface {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
    /// Whether one of its core modules says that the arguments of a call may stay where they are (`room.rs`).
    pub(crate) arguments_stay: bool,
}

/// Reads a component once; refuses it when it passes a limit.
pub(crate) fn measure(component: &[u8], limits: &ShapeLimits) -> Result<Surface, Refused> {
    let mut surface = Surface::default();
    let (mut modules, mut functions, mut items, mut depth) = (0, 0, 0_u64, 0_usize);
    for payload in Parser::new(0).parse_all(component) {
        let count = match payload.map_err(malformed)? {
            Payload::ModuleSection { .. } => {
                modules += 1;
                within("core modules", modules, limits.modules as u64)?;
                depth += 1;
                1
            }
            Payload::ComponentSection { .. } => {
                depth += 1;
                1
            }
            Payload::End(_) => {
                depth = depth.saturating_sub(1);
                0
            }
            Payload::ComponentImportSection(section) => {
                let count = section.count();
                if depth == 0 {
                    for import in section {
                        surface.imports.push(import.map_err(malformed)?.name.name.to_owned());
                    }
                }
                count
            }
            Payload::ComponentExportSection(section) => {
                let count = section.count();
                if depth == 0 {
                    for export in section {
                        surface.exports.push(export.map_err(malformed)?.name.name.to_owned());
                    }
                }
                count
            }
            Payload::CustomSection(section) => {
                surface.arguments_stay |= (section.name(), section.data()) == SECTION;
                0
            }
            Payload::FunctionSection(section) => {
                functions += u64::from(section.count());
                within("functions", functions, limits.functions as u64)?;
                0
            }
            Payload::CodeSectionEntry(body) => {
                function(&body, limits)?;
                0
            }
            Payload::TypeSection(section) => section.count(),
            Payload::ImportSection(section) => section.count(),
            Payload::ExportSection(section) => section.count(),
            Payload::GlobalSection(section) => section.count(),
            Payload::TableSection(section) => section.count(),
            Payload::ElementSection(section) => section.count(),
            Payload::DataSection(section) => section.count(),
            Payload::InstanceSection(section) => section.count(),
            Payload::CoreTypeSection(section) => section.count(),
            Payload::ComponentInstanceSection(section) => section.count(),
            Payload::ComponentAliasSection(section) => section.count(),
            Payload::ComponentTypeSection(section) => section.count(),
            Payload::ComponentCanonicalSection(section) => section.count(),
            // The others hold one thing, or are refused by the validator that comes next.
            _ => 0,
        };
        items += u64::from(count);
        within("types, imports, exports and segments together", items, limits.items as u64)?;
    }
    Ok(surface)
}

fn function(body: &FunctionBody<'_>, limits: &ShapeLimits) -> Result<(), Refused> {
    within("bytes of one function", body.range().len() as u64, limits.body_bytes as u64)?;
    let mut locals = 0_u64;
    for group in body.get_locals_reader().map_err(malformed)? {
        locals += u64::from(group.map_err(malformed)?.0);
        within("locals of one function", locals, limits.locals)?;
    }
    // For each open block, whether it is a loop.
    let mut open: Vec<bool> = Vec::new();
    let (mut blocks, mut loops) = (0, 0);
    let mut operators = body.get_operators_reader().map_err(malformed)?;
    while !operators.eof() {
        let is_loop = match operators.read().map_err(malformed)? {
            Operator::Loop { .. } => true,
            Operator::Block { .. } | Operator::If { .. } => false,
            Operator::End => {
                loops -= u64::from(open.pop() == Some(true));
                continue;
            }
            Operator::BrTable { targets } => {
                within("targets of one br_table", u64::from(targets.len()), u64::from(limits.branch_targets))?;
                continue;
            }
            _ => continue,
        };
        open.push(is_loop);
        blocks += 1;
        loops += u64::from(is_loop);
        within("blocks inside blocks of one function", open.len() as u64, limits.block_depth as u64)?;
        within("loops inside loops of one function", loops, limits.loop_depth as u64)?;
        within("blocks of one function", blocks, limits.blocks as u64)?;
    }
    Ok(())
}

fn within(what: &'static str, found: u64, allowed: u64) -> Result<(), Refused> {
    if found > allowed { Err(Refused::Shape { what, found, allowed }) } else { Ok(()) }
}

pub(crate) fn malformed(error: wasmparser::BinaryReaderError) -> Refused {
    Refused::Malformed { reason: error.message().to_owned(), at_byte: error.offset() }
}
