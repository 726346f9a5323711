//! The heap as the operating system sees it.
//!
//! The allocator gives freed memory back as it is used. A burst that ends in silence leaves it
//! unused, and with what the burst took. It is never called on the way of an event.

use std::hint::black_box;

/// All that Linux lets a process address unless it asks for more (47 bits on x86-64, 48 on arm64),
/// of which the program itself has a part; and less than the 2^48 bytes from which on mimalloc
/// refuses without looking.
const MORE_THAN_THERE_IS: usize = (1 << 48) - (1 << 20);

/// Gives back what is free of this thread's heap; some milliseconds for 100 MiB.
///
/// An allocator that cannot serve a request first gives back all that it can, to try again
/// (mimalloc: a forced collect). It is the one way to ask for that without `unsafe`.
pub fn give_back() {
    let mut never = Vec::<u8>::new();
    // Unseen, the compiler would leave out an allocation that nobody uses.
    let _refused = black_box(&mut never).try_reserve_exact(black_box(MORE_THAN_THERE_IS));
}
