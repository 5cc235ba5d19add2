//! How the program has its memory.
//!
//! Packs and blobs are hundreds of KiB each and pass through many threads. Memory that comes fresh from the system
//! costs a fault for each 4 KiB; memory that is kept for each thread adds up. So it matters who keeps how much. With
//! a flatten of scattered changes on two processors:
//!
//! | | memory | in the kernel |
//! |---|---|---|
//! | glibc, with few arenas | 490 MiB | 2.7 s |
//! | musl, which keeps no buffer of 128 KiB or more | | as much as all else |
//! | mimalloc 3, which asks for large pages and gives back parts of them | 1040 MiB | 3.5 to 6 s |
//! | jemalloc, with its `SETTINGS` | 520 MiB | 2.3 s |
//!
//! The packaged program is linked with musl and has jemalloc; any other has what its C library gives, and needs no more
//! than a C compiler to be built.
//!
//! This is the program's business and not the library's: whoever embeds that has his own allocator.
#![allow(unsafe_code, reason = "an allocator cannot be written otherwise")]

use std::alloc::{GlobalAlloc, Layout, System};

#[cfg(not(target_env = "musl"))]
use std::alloc::System as Inner;
#[cfg(target_env = "musl")]
use tikv_jemallocator::Jemalloc as Inner;

/// What jemalloc reads when it starts (jemalloc(3), "TUNING").
///
/// Few arenas: what is freed in one stays there, so each grows to what the largest moment needed. Large buffers
/// go where all others do, because those that jemalloc sets apart are given back at once (`oversize_threshold`).
/// What was not used for a second is given back.
#[cfg(target_env = "musl")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static SETTINGS: &[u8; 68] =
    b"narenas:2,oversize_threshold:0,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

/// Keeps glibc's arenas few: two, or one for every four processors if those are more. To be called before any
/// thread is started. Without effect where the C library is another.
///
/// glibc gives threads arenas of their own, eight for each processor, and what is freed in one stays there for the
/// threads that use it. Measured on two processors, with two arenas instead of sixteen: a restore of 2 GiB takes 114
/// MiB instead of 172, a prune 92 instead of 250; no slower.
pub fn keep_few_arenas() {
    #[cfg(target_env = "gnu")]
    {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let arenas = i32::try_from(processors / 4).unwrap_or(i32::MAX).max(2);
        // SAFETY: `mallopt` takes two numbers and reads nothing else; no other thread runs yet. A refusal
        // leaves everything as it is.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
    }
}

/// An allocator that takes large blocks from the C library and asks for large pages in them.
///
/// Deriving a key fills tens of MiB, and spent a quarter of its time on faults. Linux has pages of 2 MiB for those who
/// ask for them; but it keeps to such an advice in the memory it was given for, whoever has that next. So
/// large blocks are nobody's who would cut them up: the C library maps each on its own, and gives it back whole.
#[derive(Clone, Copy, Debug)]
pub struct Allocator;

/// Blocks from this size on, in bytes, are large. glibc maps those on their own whatever was allocated before
/// (`DEFAULT_MMAP_THRESHOLD_MAX`, mallopt(3)), musl much smaller ones too.
const LARGE: usize = 32 << 20;

// SAFETY: what is handed out, and taken back, is the inner allocator's or the C library's, unchanged. Which of the two
// depends on the size alone, which the caller has to know of each block.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the promises that both allocators ask for.
        match layout.size() < LARGE {
            true => unsafe { Inner.alloc(layout) },
            false => advise(unsafe { System.alloc(layout) }, layout.size()),
        }
    }

    /// jemalloc gives the pages of a used block back to have zeros of the system's. Writing them is much cheaper: a
    /// dump over SFTP spent two more seconds in the kernel.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= LARGE {
            // SAFETY: as above.
            return advise(unsafe { System.alloc_zeroed(layout) }, layout.size());
        }
        // SAFETY: as above; a block is as long as it was asked for.
        unsafe {
            if cfg!(not(target_env = "musl")) {
                return Inner.alloc_zeroed(layout);
            }
            let block = Inner.alloc(layout);
            if !block.is_null() {
                block.write_bytes(0, layout.size());
            }
            block
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        match (layout.size() < LARGE, size < LARGE) {
            (true, true) => unsafe { Inner.realloc(block, layout, size) },
            (false, false) => advise(unsafe { System.realloc(block, layout, size) }, size),
            _ => unsafe { change_hands(block, layout, size) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        match layout.size() < LARGE {
            true => unsafe { Inner.dealloc(block, layout) },
            false => unsafe { System.dealloc(block, layout) },
        }
    }
}

/// A block that becomes large, or ceases to be, moves from one to the other.
///
/// # Safety
/// As [`GlobalAlloc::realloc`].
unsafe fn change_hands(block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
    // SAFETY: the caller promises that the size, rounded up to the alignment, is no overflow; the blocks are
    // two, and each at least as long as what is copied.
    unsafe {
        let moved = Allocator.alloc(Layout::from_size_align_unchecked(size, layout.align()));
        if !moved.is_null() {
            moved.copy_from_nonoverlapping(block, layout.size().min(size));
            Allocator.dealloc(block, layout);
        }
        moved
    }
}

/// Asks for large pages in a block, and gives the block back.
fn advise(block: *mut u8, size: usize) -> *mut u8 {
    #[cfg(target_os = "linux")]
    if !block.is_null() {
        const PAGE: usize = 4 << 10;
        let margin = block.align_offset(PAGE);
        // SAFETY: whole pages inside of the block. The advice changes nothing in them; a refusal, neither.
        unsafe {
            libc::madvise(
                block.add(margin).cast(),
                (size - margin) & !(PAGE - 1),
                libc::MADV_HUGEPAGE,
            )
        };
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content<'a>(block: *mut u8, size: usize) -> &'a mut [u8] {
        assert!(!block.is_null());
        // SAFETY: the blocks of these tests are as long as they say, and used by one at a time.
        unsafe { std::slice::from_raw_parts_mut(block, size) }
    }

    #[test]
    fn a_block_holds_what_is_put_into_it_and_keeps_it_when_it_grows_and_shrinks() {
        for size in [1, 4096, LARGE - 1, LARGE, LARGE + 1, 2 * LARGE + 5000] {
            let layout = Layout::from_size_align(size, 16).unwrap();
            let grown = Layout::from_size_align(size + LARGE, 16).unwrap();
            // SAFETY: blocks are used within their sizes, and given back once, with the layout they have.
            unsafe {
                let block = Allocator.alloc(layout);
                content(block, size).fill(7);
                let block = Allocator.realloc(block, layout, grown.size());
                content(block, grown.size())[size..].fill(8);
                assert!(content(block, size).iter().all(|&byte| byte == 7));
                let block = Allocator.realloc(block, grown, size);
                assert!(content(block, size).iter().all(|&byte| byte == 7));
                Allocator.dealloc(block, layout);
            }
        }
    }

    #[test]
    fn a_block_of_zeros_is_zeros_also_where_something_else_was() {
        for size in [100, 1 << 20, LARGE] {
            let layout = Layout::from_size_align(size, 64).unwrap();
            for _ in 0..3 {
                // SAFETY: as above.
                unsafe {
                    let block = Allocator.alloc_zeroed(layout);
                    assert!(content(block, size).iter().all(|&byte| byte == 0));
                    content(block, size).fill(7);
                    Allocator.dealloc(block, layout);
                }
            }
        }
    }
}
