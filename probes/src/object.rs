//! Opens, sets up, loads and attaches the programs of a command.

use std::{
    fs, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::Path,
};

use libbpf_rs::{
    MapCore, MapHandle, Object, ObjectBuilder, OpenMapMut, OpenObject, OpenProgram,
    libbpf_sys::{
        BPF_ITER_CREATE, BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM, BPF_OBJ_GET_INFO_BY_FD, bpf_cmd,
    },
    num_possible_cpus,
};
use zerocopy::IntoBytes;

use crate::{
    Error, HookKind,
    error::malformed,
    kernel::{Unsupported, is_module, memory_left},
    lifecycle,
    links::Links,
    raw::Settings,
    table,
};

/// The commands of bpf(2) that an open probe needs: a seccomp filter must allow them. The probe reads and
/// writes histograms, reads how often the kernel skipped programs, and runs attached iterators.
pub const BPF_COMMANDS: [bpf_cmd; 4] =
    [BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM, BPF_OBJ_GET_INFO_BY_FD, BPF_ITER_CREATE];

/// The only ioctl(2) request that detaching needs: a seccomp filter must allow it. This is
/// `PERF_EVENT_IOC_DISABLE`, by which libbpf detaches kprobes.
pub const IOCTL_REQUEST: u32 = 0x2401;

/// Largest amount of memory, in bytes, that loading takes besides the tables: the memory of the programs, and
/// of this process while it reads the kernel's types.
const PROGRAMS: u64 = 16 << 20;

/// Programs and maps that are not loaded yet.
pub struct OpenPrograms {
    object: OpenObject,
    /// Constants of the programs; [`OpenPrograms::load`] writes them into the object.
    pub(crate) settings: Settings,
    /// Names of the maps that are tables, with the number of bytes of each.
    tables: Vec<(String, u32)>,
}

impl OpenPrograms {
    /// Opens a compiled object. Marks for loading: the programs of the kind `hooks`, the iterators, and the
    /// programs of `lifecycle.h`.
    pub(crate) fn new(name: &str, object: &[u8], hooks: HookKind) -> Result<Self, Error> {
        let mut object = ObjectBuilder::default().name(name)?.open_memory(object)?;
        for mut program in object.progs_mut() {
            let kind = HookKind::of_section(&program.section().to_string_lossy());
            // All programs of lifecycle.h are kprobes: they are loaded with either kind of hooks.
            let is_any = program.name().to_string_lossy().starts_with(lifecycle::PREFIX);
            program.set_autoload(is_any || kind.is_none_or(|kind| kind == hooks));
        }
        let mut open = Self { object, settings: Settings::default(), tables: Vec::new() };
        // Only kretprobes need the map `frames`, where they find the arguments of their functions.
        let returns = |program: OpenProgram<'_>| {
            program.autoload() && program.section().to_string_lossy().starts_with("kretprobe/")
        };
        let has_returns = open.object.progs().any(returns);
        open.map("frames")?.set_autocreate(has_returns)?;
        open.resize_lru("frames", 1024)?;
        Ok(open)
    }

    /// Marks the programs whose names begin with `prefix`, of either kind of hooks, as not to be loaded.
    pub(crate) fn leave_out(&mut self, prefix: &str) {
        for mut program in self.object.progs_mut() {
            if program.name().to_string_lossy().starts_with(prefix) {
                program.set_autoload(false);
            }
        }
    }

    /// Sets the number of entries of a map, or the number of bytes of a ring buffer.
    pub(crate) fn resize(&mut self, map: &str, entries: u32) -> Result<(), Error> {
        Ok(self.map(map)?.set_max_entries(entries)?)
    }

    /// Sets the number of entries of an LRU map: to `entries`, or to 256 per CPU if that is more. Each CPU
    /// may keep up to 128 free entries that others cannot use (`LOCAL_FREE_TARGET` in
    /// `kernel/bpf/bpf_lru_list.c`).
    pub(crate) fn resize_lru(&mut self, map: &str, entries: u32) -> Result<(), Error> {
        let cpus = num_possible_cpus()? as u32;
        self.resize(map, entries.max(256 * cpus))
    }

    /// Sets the size of the table `name` (`TABLE` in `stats.h`) to `len` entries of type `T`.
    pub(crate) fn set_table<T>(&mut self, name: &str, len: u32) {
        self.tables.push((format!(".bss.{name}"), len * size_of::<T>() as u32));
    }

    /// Makes the tables, loads and attaches the programs.
    ///
    /// # Errors
    /// Where the kernel, or the memory cgroup of this process, has too little memory for the tables; where the
    /// kernel refuses a program.
    pub(crate) fn load(mut self) -> Result<(Object, Links), Error> {
        let settings = self.settings;
        let mut map = self.map(".rodata.settings")?;
        let bytes = map.initial_value_mut().ok_or_else(malformed)?;
        settings.write_to(bytes).map_err(|_| malformed())?;
        self.name_module()?;
        let maps = self.object.maps().filter(|map| map.autocreate());
        let maps: u64 = maps.map(|map| u64::from(map.value_size()) * u64::from(map.max_entries())).sum();
        let tables = mem::take(&mut self.tables);
        let bytes = maps + tables.iter().map(|(_, size)| u64::from(*size)).sum::<u64>();
        if memory_left(Path::new("/")).is_some_and(|left| left < bytes + PROGRAMS) {
            return Err(Unsupported::Memory(bytes + PROGRAMS).into());
        }
        for (name, size) in tables {
            table::make(&mut self.map(&name)?, size).map_err(|e| Error::of_tables(e, bytes))?;
        }
        let object = self.object.load().map_err(|e| Error::of_tables(e, bytes))?;
        let links = Links::attach(&object)?;
        Ok((object, links))
    }

    fn map(&mut self, name: &str) -> Result<OpenMapMut<'_>, Error> {
        self.object.maps_mut().find(|map| map.name() == name).ok_or_else(malformed)
    }

    /// Sets the target of each program of fentry kind to `sctp:FUNCTION`, if SCTP is a module. Without the
    /// module's name libbpf would search vmlinux's types and then every module's: 10 million instructions per
    /// program.
    fn name_module(&mut self) -> Result<(), Error> {
        if !is_module(Path::new("/")) {
            return Ok(());
        }
        for mut program in self.object.progs_mut().filter(|program| program.autoload()) {
            let section = program.section().to_string_lossy().into_owned();
            if let Some(("fentry" | "fexit" | "tp_btf", function)) = section.split_once('/') {
                program.set_attach_target(0, Some(format!("sctp:{function}")))?;
            }
        }
        Ok(())
    }
}

/// Returns a map of loaded programs by the map's name.
pub(crate) fn map(object: &Object, name: &str) -> Result<MapHandle, Error> {
    let map = object.maps().find(|map| map.name() == name).ok_or_else(malformed)?;
    Ok(MapHandle::try_from(&map)?)
}

/// Returns the map that holds a table (`TABLE` in `stats.h`) of loaded programs, by the table's name.
pub(crate) fn table_map(object: &Object, name: &str) -> Result<MapHandle, Error> {
    map(object, &format!(".bss.{name}"))
}

/// Returns the kernel memory of all maps of loaded programs, in bytes: the sum of their `memlock` values,
/// which `bpf_map_show_fdinfo()` computes (before 6.4 without ring buffers). `None` if /proc is not mounted.
pub(crate) fn memory_bytes(object: &Object) -> Option<u64> {
    let made = object.maps().filter(|map| map.autocreate());
    made.map(|map| memlock(map.as_fd())).sum()
}

/// Returns the kernel memory of one map in bytes, as `/proc/self/fdinfo` shows it.
fn memlock(map: BorrowedFd<'_>) -> Option<u64> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("memlock:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bufmon::Programs, program::Program};

    /// An LRU map has room for the free entries that each CPU keeps to itself. Frames are for kretprobes alone.
    #[test]
    fn an_lru_map_grows_with_cpus() {
        let share = 256 * num_possible_cpus().unwrap() as u32;
        let mut open = OpenPrograms::new(Programs::NAME, Programs::OBJECT, HookKind::Kprobe).unwrap();
        assert_eq!(open.map("frames").unwrap().max_entries(), share.max(1024));
        open.resize_lru("frames", 1).unwrap();
        assert_eq!(open.map("frames").unwrap().max_entries(), share);
    }
}
