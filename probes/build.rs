//! Compiles every kernel-side program, `src/bpf/NAME.bpf.c`, to `NAME.o` in `OUT_DIR`, and makes a typed skeleton of it.

use std::{env, error::Error, ffi::OsString, fs, path::PathBuf};

use libbpf_cargo::SkeletonBuilder;

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let mut clang_args: Vec<OsString> = ["-Wall", "-Werror", "-mcpu=v3"].map(Into::into).into();
    // Debian keeps <asm/types.h>, which <linux/bpf.h> needs, in a folder per architecture; its packages for cross
    // compilers have another.
    for folder in [format!("/usr/include/{arch}-linux-gnu"), format!("/usr/{arch}-linux-gnu/include")] {
        clang_args.extend(["-idirafter".into(), folder.into()]);
    }

    // The objects name their sources: not by a folder of this machine.
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
