//! Writes the SDK's bindings anew: `cargo run -p tidemill-build --example bindings`.

use std::path::Path;

fn main() -> anyhow::Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rust/src/abi/bindings.rs");
    std::fs::write(&file, tidemill_build::bindings::generate()?)?;
    println!("{}", file.display());
    Ok(())
}
