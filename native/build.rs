//! Compiles the stub kernel, and each `c/NAME.c` with the program `NAME.bpf.c` that it wraps, and makes the list of all.

use std::{env, error::Error, fmt::Write, fs, path::PathBuf};

/// Files in `c` that are no wrappers.
const OTHERS: [&str; 1] = ["kernel"];

fn main() -> Result<(), Box<dyn Error>> {
    let list = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?).join("programs.c");
    let mut build = cc::Build::new();
    // The compiler of the kernel side: program.h uses attributes that gcc has not.
    build.compiler("clang").opt_level(2);
    build.includes(["c/stubs", "c", "../probes/src/bpf"]).file("c/kernel.c").file(&list);
    build.flags(["-fno-strict-aliasing", "-Werror"]);
    // preserve_access_index is for the BPF target; and a wrapper need not run every program.
    build.flags(["-Wno-unknown-attributes", "-Wno-unused-function", "-Wno-unused-parameter"]);
    // What BPF defines and C does not ends the test.
    build.flags(["-fsanitize=shift,bounds,integer-divide-by-zero", "-fsanitize-trap=all"]);

    let (mut declared, mut listed) = (String::new(), String::new());
    for entry in fs::read_dir("c")? {
        let file = entry?.path();
        let name = file.file_name().and_then(|name| name.to_str()?.strip_suffix(".c"));
        let Some(program) = name.filter(|name| !OTHERS.contains(name)) else { continue };
        writeln!(declared, "extern const struct program program_{program};")?;
        writeln!(listed, "\t&program_{program},")?;
        build.file(&file);
    }
    let all = "const struct program *const programs[]";
    fs::write(&list, format!("#include \"kernel.h\"\n\n{declared}\n{all} = {{\n{listed}\t0,\n}};\n"))?;
    build.try_compile("sctptrace_native")?;
    for folder in ["c", "../probes/src/bpf"] {
        println!("cargo:rerun-if-changed={folder}");
    }
    Ok(())
}
