//! Compiles the bed's own programs for the kernel, and lists the commands under test.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use libbpf_cargo::SkeletonBuilder;

#[path = "../xtask/src/commands.rs"]
mod commands;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    // Debian keeps <asm/types.h>, which <linux/bpf.h> needs, in a folder per architecture; its packages for cross
    // compilers have another.
    let folders = [format!("/usr/include/{arch}-linux-gnu"), format!("/usr/{arch}-linux-gnu/include")];
    let clang_args = folders.into_iter().flat_map(|folder| [OsString::from("-idirafter"), folder.into()]);
    for name in ["drop", "floor"] {
        SkeletonBuilder::new()
            .source(format!("src/bpf/{name}.bpf.c"))
            .clang_args(clang_args.clone())
            .build_and_generate(out.join(format!("{name}.skel.rs")))
            .unwrap_or_else(|e| panic!("cannot build {name}.bpf.c (is clang installed?): {e:#}"));
    }
    println!("cargo:rerun-if-changed=src/bpf");

    let names = commands::names(Path::new("..")).expect("the workspace can be read");
    let tools: Vec<_> = names.iter().filter_map(|name| name.strip_prefix("sctp-")).collect();
    let list = format!(
        "/// The commands under test, without `sctp-`; `$TOOLS` in the guest.\n\
         pub const TOOLS: [&str; {}] = {tools:?};\n",
        tools.len()
    );
    fs::write(out.join("tools.rs"), list).expect("cargo's folder can be written to");
    // A new command changes it, too.
    println!("cargo:rerun-if-changed=../Cargo.lock");
}
