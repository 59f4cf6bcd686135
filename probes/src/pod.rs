//! Kernel memory into Rust values.

use std::ptr;

/// A C struct of integers as the skeletons generate them: every bit pattern is a value.
///
/// # Safety
/// The type must be `repr(C)`, `Copy`, and hold nothing but integers, arrays of them, and padding.
pub(crate) unsafe trait Pod: Copy {}

/// The value at the start of `bytes`; `None` where they are too few.
pub(crate) fn read<T: Pod>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: the length was checked, alignment is not asked for, and by `Pod` any bytes are a `T`.
    Some(unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) })
}

/// A value that the kernel side may change at any time.
pub(crate) fn load<T: Pod>(shared: &T) -> T {
    // SAFETY: a reference is valid and aligned. Volatile, as the writer is not Rust's: each integer
    // is read anew, and a torn struct is still a value.
    unsafe { ptr::read_volatile(shared) }
}

/// Sets a value that the kernel side may read at any time.
pub(crate) fn store<T: Pod>(shared: &mut T, value: T) {
    // SAFETY: a reference is valid and aligned; volatile as in `load`.
    unsafe { ptr::write_volatile(shared, value) }
}

// SAFETY: an integer.
unsafe impl Pod for u32 {}
