//! Compiles every file under `tiershift/` into Rust and into a descriptor set. protox does it, so no `protoc` is needed.
//! Look at the `.proto` files for the contract itself.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;

/// The folder of the contract, relative to this crate.
const ROOT: &str = "tiershift";

fn main() -> Result<(), Box<dyn Error>> {
    // A folder is watched with all that is in it, so that a new file is seen too.
    println!("cargo::rerun-if-changed={ROOT}");

    let mut files = Vec::new();
    collect(Path::new(ROOT), &mut files)?;
    // The order of a directory is the file system's; the descriptor set must not depend on it.
    files.sort();

    let descriptors = protox::Compiler::new(["."])?
        .include_imports(true)
        .include_source_info(true)
        .open_files(&files)?
        .file_descriptor_set();

    let out_dir = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out_dir.join("descriptor.bin"), descriptors.encode_to_vec())?;

    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        // Maps of messages reach logs and JSON: their order must be the same each time.
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}

/// Adds every `.proto` file under `folder` to `files`.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}
