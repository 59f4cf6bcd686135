//! The files of a package, as the package's template lists them.

use std::path::{Path, PathBuf};

use crate::files::{entries, failure};
use crate::run::Failure;

/// The kind of distribution that the files are for: some folders differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Debian's: a folder per package, `DIR/sctp-rtt/usr/bin/sctp-rtt`, and its scripts beside it,
    /// `DIR/sctp-rtt.postinst`.
    Deb,
    /// Fedora's, and others': one folder for all packages, `DIR/usr/bin/sctp-rtt`. The files `PACKAGE.files` for `%files
    /// -f` and `PACKAGE.postin` and so on for `%post -f` are in `target/install`.
    Rpm,
}

/// A file of a package, as the package's template names it.
pub struct Asset<'a> {
    /// Path below the package's folder. A name may have a `*`.
    pub source: &'a str,
    /// Path of the file, or with `/` at its end of the folder, in the system.
    pub dest: &'a str,
    /// Permissions, in octal digits.
    pub mode: &'a str,
    /// The kind of distribution whose packages have the file.
    pub layout: Layout,
}

impl Asset<'_> {
    /// The files below the package's folder. If the name has a `*`, these are all files with the same ending.
    pub fn files(&self, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
        let path = folder.join(self.source);
        let mut files = vec![path.clone()];
        if let Some((_, ending)) = self.source.split_once('*') {
            files = entries(path.parent().unwrap_or(folder))?;
            files.retain(|file| file.to_string_lossy().ends_with(ending));
        }
        let missing = files.is_empty() || !files.iter().all(|file| file.is_file());
        if missing { Err(failure(&path, "is to be packed, but not there")) } else { Ok(files) }
    }
}

/// Finds the files to be packed in the text of a package's `Cargo.toml`, those of both kinds of package. A line is
/// `["SOURCE", "DEST", "MODE"]` for a Debian package, and `{ source = "SOURCE", dest = "DEST", mode = "MODE" }` for an RPM.
pub fn assets(manifest: &str) -> impl Iterator<Item = Asset<'_>> {
    manifest.lines().filter_map(|line| {
        let line = line.trim();
        let layout = if line.starts_with("[\"") {
            Layout::Deb
        } else if line.starts_with("{ source = \"") {
            Layout::Rpm
        } else {
            return None;
        };
        let mut quoted = line.split('"').skip(1).step_by(2);
        Some(Asset { source: quoted.next()?, dest: quoted.next()?, mode: quoted.next()?, layout })
    })
}

#[cfg(test)]
mod tests {
    use super::{Layout, assets};

    #[test]
    fn assets_of_both_kinds_of_package() {
        let manifest = "assets = [\n    [\"a/b\", \"usr/bin/\", \"755\"],\n]\nassets = [\n    \
            { source = \"c\", dest = \"/usr/bin/d\", mode = \"644\", doc = true },\n]\nlicense-file = [\"LICENSE\", \"4\"]";
        let found: Vec<_> = assets(manifest)
            .map(|asset| (asset.source, asset.dest, asset.mode, asset.layout == Layout::Deb))
            .collect();
        assert_eq!(found, [("a/b", "usr/bin/", "755", true), ("c", "/usr/bin/d", "644", false)]);
    }
}
