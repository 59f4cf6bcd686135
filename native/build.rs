//! Compiles the stub kernel `c/kernel.c` and each wrapper `c/NAME.c`, which includes the program
//! `NAME.bpf.c`. Generates `programs`, the C list of all wrapped programs (`kernel.h`).

use std::{env, error::Error, fmt::Write, fs, path::PathBuf};

/// Names, without `.c`, of the C files in `c` that wrap no program.
const OTHERS: [&str; 1] = ["kernel"];

fn main() -> Result<(), Box<dyn Error>> {
    let list = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?).join("programs.c");
    let mut build = cc::Build::new();
    // clang compiles the BPF programs, too: program.h uses attributes that gcc does not have.
    build.compiler("clang").opt_level(2);
    build.includes(["c/stubs", "c", "../probes/src/bpf"]).file("c/kernel.c").file(&list);
    build.flags(["-fno-strict-aliasing", "-Werror"]);
    // preserve_access_index is an attribute of the BPF target only. A wrapper need not call every function.
    build.flags(["-Wno-unknown-attributes", "-Wno-unused-function", "-Wno-unused-parameter"]);
    // A shift by too many bits, an index out of bounds or a division by zero ends the test: BPF may define
    // the result, C does not.
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
