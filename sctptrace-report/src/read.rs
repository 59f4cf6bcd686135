//! Reads the input line by line.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    model::Model,
    object::{MAX_LINE, Parsed, parse},
};

/// What standard input is called on the page and in messages.
const STDIN: &str = "standard input";

/// Reads each file, or standard input for `-` or where no file is given, into `model`.
///
/// # Errors
/// Where a file cannot be read, or has a bad line: the error names file, line and what is wrong. The last line of a
/// file may be cut, as that of a command that was killed is: that is reported on standard error, and the line is left out.
pub fn all(files: &[PathBuf], model: &mut Model) -> Result<()> {
    if files.is_empty() {
        return lines(STDIN, &mut io::stdin().lock(), model);
    }
    for file in files {
        if file == Path::new("-") {
            lines(STDIN, &mut io::stdin().lock(), model)?;
        } else {
            let opened = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
            let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
            let shown = file.display().to_string();
            named(&name, &shown, &mut BufReader::with_capacity(1 << 16, opened), model)?;
        }
    }
    Ok(())
}

/// Reads the lines of `from`. `name` is what the page and messages call it.
///
/// # Errors
/// The same as for [`all`].
pub fn lines(name: &str, from: &mut dyn BufRead, model: &mut Model) -> Result<()> {
    named(name, name, from, model)
}

fn named(name: &str, shown: &str, from: &mut dyn BufRead, model: &mut Model) -> Result<()> {
    let source = model.add_source(name);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        // A rare long line does not keep its memory.
        line.shrink_to(1 << 20);
        (&mut *from)
            .take(MAX_LINE as u64 + 1)
            .read_until(b'\n', &mut line)
            .with_context(|| format!("cannot read {shown}"))?;
        if line.is_empty() {
            break;
        }
        let has_end = line.pop_if(|last| *last == b'\n').is_some();
        if line.len() > MAX_LINE {
            bail!("{shown}:{number}: the line is longer than {MAX_LINE} bytes");
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match parse(&line) {
            Ok(Parsed::Object(object)) => {
                model.add(source, &object).map_err(|what| anyhow::anyhow!("{shown}:{number}: {what}"))?;
            }
            Ok(Parsed::Unknown) => model.add_unknown(),
            Err(error) if error.is_eof() && !has_end => {
                // The page is made all the same.
                let _ = writeln!(
                    io::stderr(),
                    "sctptrace-report: {shown}:{number}: the last line is cut, and left out"
                );
                model.add_cut(source);
            }
            Err(error) => bail!("{shown}:{number}: not a line of a sctptrace command: {error}"),
        }
    }
    Ok(())
}
