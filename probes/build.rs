//! Compiles each kernel-side program, `src/bpf/NAME.bpf.c`, to `NAME.o` in `OUT_DIR`, and generates its
//! skeleton `NAME.skel.rs`, which has the program's C structs as Rust types.

use std::{env, error::Error, ffi::OsString, fs, path::PathBuf};

use libbpf_cargo::SkeletonBuilder;

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let mut clang_args: Vec<OsString> = ["-Wall", "-Werror", "-mcpu=v3"].map(Into::into).into();
    // <linux/bpf.h> needs <asm/types.h>. Debian keeps that in a folder per architecture, the first of these
    // two; its packages for cross compilers keep it in the second.
    for folder in [format!("/usr/include/{arch}-linux-gnu"), format!("/usr/{arch}-linux-gnu/include")] {
        clang_args.extend(["-idirafter".into(), folder.into()]);
    }

    // The objects' debug information names the source files. Keep this machine's folder out of their paths.
    let here = env::var("CARGO_MANIFEST_DIR")?;
    clang_args.push(format!("-ffile-prefix-map={here}=.").into());

    for entry in fs::read_dir("src/bpf")? {
        let source = entry?.path();
        let Some(program) = source.file_name().and_then(|name| name.to_str()?.strip_suffix(".bpf.c")) else {
            continue;
        };
        SkeletonBuilder::new()
            .source(&source)
            .obj(out.join(format!("{program}.o")))
            .reference_obj(true)
            .clang_args(&clang_args)
            .build_and_generate(out.join(format!("{program}.skel.rs")))
            .map_err(|e| format!("cannot build {} (is clang installed?): {e:#}", source.display()))?;
    }
    println!("cargo:rerun-if-changed=src/bpf");
    Ok(())
}
