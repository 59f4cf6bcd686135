//! The text that `--version` prints.

use std::sync::LazyLock;

/// Version, commit and the version of libbpf, e.g. `0.1.0 (d7a38d7) libbpf 1.7`.
pub(crate) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let [version, commit] = [env!("CARGO_PKG_VERSION"), env!("SCTPTRACE_COMMIT")];
    format!("{version} ({commit}) libbpf {}", probes::libbpf_version())
});

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::VERSION;

    #[test]
    fn version_commit_and_libbpf_are_told() {
        let head = Command::new("git").args(["rev-parse", "HEAD"]).output().ok();
        let head = head.filter(|output| output.status.success()).map(|output| output.stdout);
        let head = head.map_or("unknown".to_owned(), |name| String::from_utf8_lossy(&name[..7]).into_owned());
        let start = format!("{} ({head}) libbpf ", env!("CARGO_PKG_VERSION"));
        let libbpf = VERSION.strip_prefix(&start).unwrap();
        let numbers: Vec<u32> = libbpf.split('.').map(|number| number.parse().unwrap()).collect();
        assert!(numbers.len() == 2 && numbers[0] >= 1, "{libbpf}");
    }
}
