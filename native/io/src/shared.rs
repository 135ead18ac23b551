//! Memory that two processes share: a sealed memfd, seen as 64-bit atomics and in no other way.
//!
//! The one file of the ring with unsafe code. Whatever the other process writes into the memory, and whenever, is a number
//! read by an atomic load: it may be wrong, it cannot be undefined behaviour. The seals keep the memory from being cut short,
//! which would kill this process with SIGBUS. Linux only; elsewhere it cannot be made, and says so.

#[cfg(target_os = "linux")]
pub use linux::{duplicate_of, SharedWords};

#[cfg(not(target_os = "linux"))]
pub use other::{duplicate_of, SharedWords};

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
mod linux {
    use std::ffi::CStr;
    use std::io;
    use std::os::fd::{AsRawFd, FromRawFd};
    use std::ptr::NonNull;
    use std::sync::atomic::AtomicU64;

    use crate::event_fd::Owned;

    const WORD_BYTES: usize = size_of::<AtomicU64>();
    const SEALS: libc::c_int = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;

    /// A mapping of shared memory; unmapped when dropped.
    #[derive(Debug)]
    pub struct SharedWords {
        fd: Owned,
        start: NonNull<AtomicU64>,
        len: usize,
    }

    // SAFETY: the memory is reached by atomics only, from whatever thread, and lives as long as the value.
    unsafe impl Send for SharedWords {}
    // SAFETY: as above.
    unsafe impl Sync for SharedWords {}

    fn last_error<T>() -> io::Result<T> {
        Err(io::Error::last_os_error())
    }

    /// A descriptor of its own for whatever `fd` stands for, which stays as it is. Errors: `fd` is open for nothing.
    pub fn duplicate_of(fd: i32) -> io::Result<Owned> {
        // SAFETY: plain numbers; a descriptor that is not open is refused with -1.
        let fd = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
        if fd < 0 {
            return last_error();
        }
        // SAFETY: `fd` was just made and is owned by nothing else.
        Ok(unsafe { Owned::from_raw_fd(fd) })
    }

    impl SharedWords {
        /// New memory of `len` words, all zero. Errors: the system refused.
        pub fn create(name: &CStr, len: usize) -> io::Result<Self> {
            // SAFETY: `name` is a C string that lives during the call, which makes a descriptor or returns -1.
            let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
            if fd < 0 {
                return last_error();
            }
            // SAFETY: `fd` was just made and is owned by nothing else.
            let fd = unsafe { Owned::from_raw_fd(fd) };
            let bytes = libc::off_t::try_from(len * WORD_BYTES).map_err(io::Error::other)?;
            // SAFETY: both calls take the live descriptor and plain numbers.
            if unsafe { libc::ftruncate(fd.as_raw_fd(), bytes) } != 0
                || unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, SEALS) } != 0
            {
                return last_error();
            }
            SharedWords::map(fd, len)
        }

        /// The memory behind a descriptor that `create` of another process made. Errors: it is no such memory.
        pub fn open(fd: Owned) -> io::Result<Self> {
            // SAFETY: a live descriptor and a plain number.
            let seals = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) };
            if seals < 0 || seals & SEALS != SEALS {
                return Err(io::Error::other("the descriptor is no sealed shared memory"));
            }
            let bytes = std::fs::File::from(fd.try_clone()?).metadata()?.len();
            let len = usize::try_from(bytes).map_err(io::Error::other)? / WORD_BYTES;
            SharedWords::map(fd, len)
        }

        fn map(fd: Owned, len: usize) -> io::Result<Self> {
            let (bytes, access) = (len * WORD_BYTES, libc::PROT_READ | libc::PROT_WRITE);
            // SAFETY: a new mapping at a place of the kernel's choice; the file has `bytes` bytes and, being sealed, keeps them.
            let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, libc::MAP_SHARED, fd.as_raw_fd(), 0) };
            if start == libc::MAP_FAILED {
                return last_error();
            }
            let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
            Ok(SharedWords { fd, start, len })
        }

        /// The memory.
        pub fn words(&self) -> &[AtomicU64] {
            // SAFETY: the mapping has `len` words, is aligned to a page, zero or written by atomics (any bits are an AtomicU64),
            // and stays until `self` is dropped; it is never reached in another way by this process.
            unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
        }

        /// The descriptor once more, for another mapping.
        pub fn duplicate(&self) -> io::Result<Owned> {
            self.fd.try_clone()
        }

        /// The descriptor to hand to the other process.
        pub fn raw(&self) -> i32 {
            self.fd.as_raw_fd()
        }
    }

    impl Drop for SharedWords {
        fn drop(&mut self) {
            // SAFETY: exactly what mmap returned; nobody borrows it any more, because `words` borrows `self`.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.len * WORD_BYTES) };
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::ffi::CStr;
    use std::io;
    use std::sync::atomic::AtomicU64;

    use crate::event_fd::Owned;

    fn unsupported<T>() -> io::Result<T> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "processes share memory on Linux only",
        ))
    }

    /// Always refuses.
    pub fn duplicate_of(_fd: i32) -> io::Result<Owned> {
        unsupported()
    }

    /// Cannot be made on this system.
    #[derive(Debug)]
    pub struct SharedWords(());

    impl SharedWords {
        /// Always refuses.
        pub fn create(_name: &CStr, _len: usize) -> io::Result<Self> {
            unsupported()
        }

        /// Always refuses.
        pub fn open(_fd: Owned) -> io::Result<Self> {
            unsupported()
        }

        /// Nothing.
        pub fn words(&self) -> &[AtomicU64] {
            &[]
        }

        /// Always refuses.
        pub fn duplicate(&self) -> io::Result<Owned> {
            unsupported()
        }

        /// No descriptor.
        pub fn raw(&self) -> i32 {
            -1
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn two_mappings_are_one_memory_that_cannot_be_cut() {
        let one = SharedWords::create(c"test", 1024).unwrap();
        let fd = one.duplicate().unwrap();
        let file = std::fs::File::from(fd.try_clone().unwrap());
        let two = SharedWords::open(fd).unwrap();
        one.words()[1023].store(7, Relaxed);
        assert_eq!((two.words().len(), two.words()[1023].load(Relaxed)), (1024, 7));
        assert!(file.set_len(0).is_err() && file.set_len(1 << 20).is_err());
        let (ordinary, _) = std::io::pipe().unwrap();
        assert!(SharedWords::open(ordinary.into()).is_err());
    }
}
