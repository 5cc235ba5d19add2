//! Large buffers in large pages.
//!
//! A page of memory is 4 KiB, and each costs a fault when it is first touched. Deriving a key, which fills tens of
//! MiB, spent a quarter of its time on that. Linux has pages of 2 MiB for those who ask for them: with restic's keys
//! on two processors, and before the lanes of scrypt were worked on side by side, a repository was open after 0.42 s
//! instead of 0.49.
//!
//! As [`arenas`](crate::arenas), this is the program's business and not the library's.
#![allow(unsafe_code, reason = "an allocator cannot be written otherwise")]

use std::alloc::{GlobalAlloc, Layout};

/// An allocator that asks for large pages where an allocation has room for several.
#[derive(Debug)]
pub struct LargePages<A>(pub A);

/// Allocations from this size on, in bytes, are asked for.
const LARGE: usize = 8 << 20;

// SAFETY: what is handed out, and taken back, is the inner allocator's, unchanged.
unsafe impl<A: GlobalAlloc> GlobalAlloc for LargePages<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the promises that the inner allocator asks for.
        advise(unsafe { self.0.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        advise(unsafe { self.0.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        advise(unsafe { self.0.realloc(block, layout, size) }, size)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { self.0.dealloc(block, layout) }
    }
}

/// Asks for large pages in a block, and gives the block back.
fn advise(block: *mut u8, size: usize) -> *mut u8 {
    #[cfg(target_os = "linux")]
    if size >= LARGE && !block.is_null() {
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
    use std::alloc::System;

    use super::*;

    #[test]
    fn a_block_of_any_size_holds_what_is_put_into_it_and_keeps_it_when_it_grows() {
        let allocator = LargePages(System);
        for size in [1, 4096, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE + 5000] {
            let layout = Layout::from_size_align(size, 16).unwrap();
            let grown = Layout::from_size_align(size + LARGE, 16).unwrap();
            // SAFETY: blocks are used within their sizes, and given back once, with the layout they have.
            unsafe {
                let zeros = allocator.alloc_zeroed(layout);
                assert!(std::slice::from_raw_parts(zeros, size).iter().all(|&byte| byte == 0));
                allocator.dealloc(zeros, layout);
                let block = allocator.alloc(layout);
                std::slice::from_raw_parts_mut(block, size).fill(7);
                let block = allocator.realloc(block, layout, grown.size());
                block.add(size).write_bytes(8, LARGE);
                let content = std::slice::from_raw_parts(block, grown.size());
                assert!(content[..size].iter().all(|&byte| byte == 7));
                assert!(content[size..].iter().all(|&byte| byte == 8));
                allocator.dealloc(block, grown);
            }
        }
    }
}
