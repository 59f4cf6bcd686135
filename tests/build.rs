//! Compiles the test bed's own BPF programs, and generates two Rust files: the list of the commands under
//! test, and the modules of the VM tests' cases.

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
    // Debian keeps <asm/types.h>, which <linux/bpf.h> needs, in a folder per architecture; its packages for
    // cross compilers put the header into another folder.
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
    // A new command changes Cargo.lock: then the list of commands is made anew.
    println!("cargo:rerun-if-changed=../Cargo.lock");
    fs::write(out.join("cases.rs"), cases()).expect("cargo's folder can be written to");
}

/// Returns Rust source for the VM tests' cases: a module for each file of cases, and a function that calls
/// each module's `add()`. Modules are in alphabetical order, so that the case `absent` is the first on its
/// machine, before another case loads SCTP.
fn cases() -> String {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["tests/vm/cases", "tests/vm/cases/all"] {
        println!("cargo:rerun-if-changed={folder}");
        let entries = fs::read_dir(here.join(folder)).expect("the cases can be read");
        files.extend(entries.map(|entry| entry.expect("the cases can be read").path()));
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    let name = |file: &Path| file.file_stem().expect("a file has a name").to_string_lossy().into_owned();
    files.sort_by_key(|file| name(file));
    let mut list = String::new();
    for file in &files {
        list += &format!("#[path = {file:?}]\npub mod {};\n", name(file));
    }
    list += "\n/// All cases.\npub fn add(suite: &mut crate::suite::Suite) {\n";
    for file in &files {
        list += &format!("    {}::add(suite);\n", name(file));
    }
    list + "}\n"
}
