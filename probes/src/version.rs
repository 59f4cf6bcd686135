//! The version of the libbpf that this crate is linked with.

use libbpf_rs::libbpf_sys::{libbpf_major_version, libbpf_minor_version};

/// Returns libbpf's major and minor version, such as `1.7`.
#[must_use]
pub fn libbpf_version() -> String {
    // SAFETY: these functions only return constants.
    let [major, minor] = unsafe { [libbpf_major_version(), libbpf_minor_version()] };
    format!("{major}.{minor}")
}
