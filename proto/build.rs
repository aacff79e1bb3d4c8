//! Compiles the control API with protox, so that nobody needs a `protoc` to build Segue.

use std::{error::Error, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let descriptors =
        protox::compile(["segue/control/v1/control.proto"], [PathBuf::from("proto")])?;
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    fs::write(out.join("control.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
