//! All BPF programs, maps and links of the kernel, a line each.

use libbpf_rs::query::{LinkInfoIter, MapInfoIter, ProgInfoIter};

fn main() {
    for program in ProgInfoIter::default() {
        println!("program {} {}", program.id, program.name.to_string_lossy());
    }
    for map in MapInfoIter::default() {
        println!("map {} {}", map.id, map.name.to_string_lossy());
    }
    for link in LinkInfoIter::default() {
        println!("link {} of program {}", link.id, link.prog_id);
    }
}
