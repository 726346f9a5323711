//! Gives the heap's free memory back to the operating system.
//!
//! The allocator gives freed memory back while it is used. After a burst that ends in silence
//! nothing uses it, and it keeps what the burst took. Nothing here is called on an event's path.

use std::hint::black_box;

/// More bytes than a process can have: as many as Linux lets it address unless it asks for more (47
/// bits on x86-64, 48 on arm64), of which the program itself has a part; and less than the 2^48
/// bytes from which on mimalloc refuses without looking.
const MORE_THAN_THERE_IS: usize = (1 << 48) - (1 << 20);

/// Gives back the free memory of this thread's heap; it takes some milliseconds for 100 MiB.
///
/// An allocator that cannot serve a request first gives back all that it can, to try again
/// (mimalloc: a forced collect). A request that cannot be served is the one way to ask for that
/// without `unsafe`.
pub fn give_back() {
    let mut never = Vec::<u8>::new();
    // `black_box`, or the compiler would leave out an allocation that nobody uses.
    let _refused = black_box(&mut never).try_reserve_exact(black_box(MORE_THAN_THERE_IS));
}
