//! The container image: a tar archive in the OCI image layout (OCI image spec 1.1). It has one image of the static
//! commands per architecture, and an index that names them all.
//!
//! Such an archive is a few JSON files and a compressed tar per image, each named by its checksum. So the programs that
//! make the other archives (tar, gzip, sha256sum) make this one, too. buildah would put the same bytes together, but
//! wants a storage of its own and either root or user namespaces. Crates for tar and SHA-256 would be the first
//! dependencies of xtask, which a newcomer's machine compiles before anything else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::build::Linking;
use super::licences::THIRD_PARTY;
use super::{Arch, Dist, VERSION, workspace};
use crate::files::{WORKSPACE, copy, create, failure, gzip, remove, write};
use crate::run::{Failure, output};

/// The image's name, without version. A registry's name has to be put before it: images that are only stored on a host
/// are `localhost/NAME`, and no tool looks for these elsewhere.
const NAME: &str = "localhost/sctptrace";

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

impl Dist {
    /// Make the archive with an image for each of these architectures. Their static commands must have been built.
    pub fn image(&self, archs: &[&Arch]) -> Result<(), Failure> {
        println!("making the container image");
        let layout = Layout::new(self.work.join("oci"))?;
        let created = self.time("+%Y-%m-%dT%H:%M:%SZ")?;
        let labels = self.labels(&created);
        let mut manifests = Vec::new();
        for arch in archs {
            let (layer, diff_id) = self.layer(arch, &layout)?;
            let config = layout.add_text(&config(arch, &created, &labels, &diff_id))?;
            let manifest = layout.add_text(&object([
                ("schemaVersion", "2".to_owned()),
                ("mediaType", text(MANIFEST)),
                ("config", config.descriptor(CONFIG, [])),
                ("layers", array([layer.descriptor(LAYER, [])])),
                ("annotations", labels.clone()),
            ]))?;
            let platform = object([("architecture", text(arch.debian)), ("os", text("linux"))]);
            manifests.push(manifest.descriptor(MANIFEST, [("platform", platform)]));
        }
        let index = layout.add_text(&object([
            ("schemaVersion", "2".to_owned()),
            ("mediaType", text(INDEX)),
            ("manifests", array(manifests)),
            ("annotations", labels),
        ]))?;
        // As buildx does: the archive's own index has one entry, the image of all architectures, with its name. So a
        // tool that is asked for "the image" finds one.
        let names = object([
            ("io.containerd.image.name", text(&format!("{NAME}:{VERSION}"))),
            ("org.opencontainers.image.ref.name", text(VERSION)),
        ]);
        layout.write(&object([
            ("schemaVersion", "2".to_owned()),
            ("mediaType", text(INDEX)),
            ("manifests", array([index.descriptor(INDEX, [("annotations", names)])])),
        ]))?;
        let archive = self.out.join(format!("sctptrace-{VERSION}.oci.tar"));
        self.tar(&archive, &layout.0, &["blobs", "index.json", "oci-layout"])
    }

    /// Add an image's only layer, its files. Returns the layer, and the digest of the layer's uncompressed bytes.
    fn layer(&self, arch: &Arch, layout: &Layout) -> Result<(Blob, String), Failure> {
        let folder = self.work.join(arch.name).join("image");
        let root = folder.join("root");
        let programs = self.programs(arch, Linking::Static);
        for command in &self.commands {
            copy(&programs.join(command), &root.join("usr/bin").join(command))?;
        }
        let licences = root.join("usr/share/doc/sctptrace");
        copy(&workspace("LICENSE"), &licences.join("LICENSE"))?;
        copy(&self.work.join(THIRD_PARTY), &licences.join(THIRD_PARTY))?;
        let tar = folder.join("layer.tar");
        self.tar(&tar, &root, &["usr"])?;
        let diff_id = digest(&tar)?;
        gzip(&tar)?;
        Ok((layout.add(&folder.join("layer.tar.gz"))?, diff_id))
    }

    /// What the image says of itself: as labels of each image, and as annotations of manifests and index.
    fn labels(&self, created: &str) -> String {
        let revision = output(Command::new("git").args(["-C", WORKSPACE, "rev-parse", "HEAD"]));
        let revision = revision.unwrap_or_else(|_| "unknown".to_owned());
        let labels = [
            ("created", created),
            ("description", "See inside the SCTP of a running Linux kernel"),
            ("licenses", "MIT"),
            ("revision", &revision),
            ("title", "sctptrace"),
            ("vendor", "The sctptrace authors"),
            ("version", VERSION),
        ];
        let labels = labels.map(|(name, value)| (format!("org.opencontainers.image.{name}"), text(value)));
        object(labels.iter().map(|(name, value)| (name.as_str(), value.clone())))
    }
}

/// An image's configuration. The user is root, because a runtime gives capabilities to nobody else. Without arguments
/// the image prints help, which needs no capability.
fn config(arch: &Arch, created: &str, labels: &str, diff_id: &str) -> String {
    let process = object([
        ("Cmd", array([text("/usr/bin/sctp-rto"), text("--help")])),
        ("Env", array([text("PATH=/usr/bin")])),
        ("Labels", labels.to_owned()),
        ("User", text("0:0")),
        ("WorkingDir", text("/")),
    ]);
    let history = object([("created", text(created)), ("created_by", text("cargo xtask dist"))]);
    object([
        ("architecture", text(arch.debian)),
        ("config", process),
        ("created", text(created)),
        ("history", array([history])),
        ("os", text("linux")),
        ("rootfs", object([("diff_ids", array([text(diff_id)])), ("type", text("layers"))])),
    ])
}

/// A folder in the OCI image layout, under construction.
struct Layout(PathBuf);

/// A file of the layout that is named by its checksum.
struct Blob {
    digest: String,
    size: u64,
}

impl Layout {
    fn new(folder: PathBuf) -> Result<Self, Failure> {
        remove(&folder)?;
        create(&folder.join("blobs/sha256"))?;
        Ok(Self(folder))
    }

    /// Move a file into the layout.
    fn add(&self, file: &Path) -> Result<Blob, Failure> {
        let digest = digest(file)?;
        let size = fs::metadata(file).map_err(|error| failure(file, error))?.len();
        let blob = self.0.join("blobs").join(digest.replace(':', "/"));
        fs::rename(file, blob).map_err(|error| failure(file, error))?;
        Ok(Blob { digest, size })
    }

    fn add_text(&self, text: &str) -> Result<Blob, Failure> {
        let file = self.0.join("text");
        write(&file, text)?;
        self.add(&file)
    }

    /// Write the files that are not named by their checksum.
    fn write(&self, index: &str) -> Result<(), Failure> {
        write(&self.0.join("index.json"), index)?;
        write(&self.0.join("oci-layout"), &object([("imageLayoutVersion", text("1.0.0"))]))
    }
}

impl Blob {
    /// The JSON by which other blobs refer to this one.
    fn descriptor<const N: usize>(&self, media_type: &str, more: [(&str, String); N]) -> String {
        let members = [
            ("mediaType", text(media_type)),
            ("digest", text(&self.digest)),
            ("size", self.size.to_string()),
        ];
        object(members.into_iter().chain(more))
    }
}

/// A file's checksum, as `sha256:` and hexadecimal digits.
fn digest(file: &Path) -> Result<String, Failure> {
    let sum = output(Command::new("sha256sum").arg("--binary").arg(file))?;
    let sum = sum.split(' ').next().unwrap_or_default();
    Ok(format!("sha256:{sum}"))
}

/// A JSON object of members whose values are JSON.
fn object<'a>(members: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let members: Vec<_> =
        members.into_iter().map(|(name, value)| format!("{}:{value}", text(name))).collect();
    format!("{{{}}}", members.join(","))
}

/// A JSON array of items that are JSON.
fn array(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(","))
}

/// A JSON string. Here no text has control characters.
fn text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process;

    use super::super::{AARCH64, X86_64};
    use super::*;
    use crate::run::run;

    /// A release in a folder of its own, with texts in the place of programs.
    fn release(name: &str) -> Dist {
        let target = env::temp_dir().join(format!("xtask-image-{}-{name}", process::id()));
        assert!(remove(&target).is_ok());
        let [out, work] = ["dist", "dist-work"].map(|name| target.join(name));
        let commands = ["sctp-rtt", "sctp-rto", "sctp-bufmon", "sctp-jitter", "sctp-streamutil"];
        let commands = commands.map(str::to_owned).to_vec();
        let dist = Dist { target, out, work, epoch: "1700000000".to_owned(), commands };
        assert!(create(&dist.out).is_ok());
        assert!(write(&dist.work.join(THIRD_PARTY), "licences\n").is_ok());
        for arch in [&X86_64, &AARCH64] {
            for command in &dist.commands {
                let program = dist.programs(arch, Linking::Static).join(command);
                assert!(write(&program, &format!("{command} for {}\n", arch.name)).is_ok());
                assert!(run(Command::new("chmod").arg("700").arg(program)).is_ok());
            }
        }
        dist
    }

    fn archive(dist: &Dist, archs: &[&Arch]) -> PathBuf {
        if let Err(Failure(why)) = dist.image(archs) {
            panic!("{why}");
        }
        dist.out.join(format!("sctptrace-{VERSION}.oci.tar"))
    }

    /// `tests/oci.py` knows the layout, and nothing of this file.
    fn is_taken(archive: &Path, architectures: &[&str]) -> bool {
        let script = workspace("tests/oci.py");
        let mut check = Command::new("python3");
        check.arg(script).arg(archive).args(["--time", "1700000000"]).args(architectures);
        check.status().is_ok_and(|status| status.success())
    }

    #[test]
    fn an_independent_reader_takes_the_archive() {
        let dist = release("read");
        let made = archive(&dist, &[&X86_64, &AARCH64]);
        assert!(is_taken(&made, &["amd64", "arm64"]));
        // The reader sees whether an image is missing, or a byte wrong.
        assert!(!is_taken(&made, &["amd64"]));
        let mut bytes = fs::read(&made).unwrap();
        let at = bytes.windows(11).position(|part| part == b"sctp-bufmon").unwrap_or(bytes.len() / 2);
        bytes[at] ^= 1;
        fs::write(&made, bytes).unwrap();
        assert!(!is_taken(&made, &["amd64", "arm64"]));
        let native = archive(&dist, &[&X86_64]);
        assert!(is_taken(&native, &["amd64"]));
        assert!(remove(&dist.target).is_ok());
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let made = ["once", "twice"].map(|name| {
            let dist = release(name);
            let bytes = fs::read(archive(&dist, &[&X86_64, &AARCH64])).unwrap();
            assert!(remove(&dist.target).is_ok());
            bytes
        });
        assert!(made[0] == made[1]);
    }

    #[test]
    fn texts_are_json() {
        assert_eq!(object([("a\"b", array([text("c\\d"), "1".to_owned()]))]), r#"{"a\"b":["c\\d",1]}"#);
    }
}
