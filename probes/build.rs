//! Compiles every kernel-side program and makes a typed skeleton of it in `OUT_DIR`.

use std::{env, ffi::OsString, path::PathBuf};

use libbpf_cargo::SkeletonBuilder;

/// `src/bpf/NAME.bpf.c`, one per command.
const PROGRAMS: &[&str] = &["bufmon", "jitter", "rto", "rtt", "streamutil"];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    let mut clang_args: Vec<OsString> = ["-Wall", "-Werror", "-mcpu=v3"].map(Into::into).into();
    // Debian keeps <asm/types.h>, which <linux/bpf.h> needs, in a folder per architecture; its packages for cross
    // compilers have another.
    for folder in [format!("/usr/include/{arch}-linux-gnu"), format!("/usr/{arch}-linux-gnu/include")] {
        clang_args.extend(["-idirafter".into(), folder.into()]);
    }

    // The objects name their sources: not by a folder of this machine.
    let here = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    clang_args.push(format!("-ffile-prefix-map={here}=.").into());

    for program in PROGRAMS {
        let source = format!("src/bpf/{program}.bpf.c");
        SkeletonBuilder::new()
            .source(&source)
            .clang_args(&clang_args)
            .build_and_generate(out.join(format!("{program}.skel.rs")))
            .unwrap_or_else(|e| panic!("cannot build {source} (is clang installed?): {e:#}"));
    }
    println!("cargo:rerun-if-changed=src/bpf");
}
