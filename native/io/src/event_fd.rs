//! An eventfd: how a native thread wakes the event loop, which watches the descriptor like a socket.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A non-blocking eventfd that becomes readable when somebody rings.
#[derive(Debug)]
pub struct EventFd {
    fd: OwnedFd,
}

impl EventFd {
    /// A silent one. Errors: the process has no descriptors left.
    #[allow(unsafe_code)]
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes two integers and returns a new descriptor or -1; a new descriptor belongs to nobody yet.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just returned by eventfd and is owned by nothing else.
        Ok(EventFd {
            fd: unsafe { OwnedFd::from_raw_fd(fd) },
        })
    }

    /// Makes it readable. A counter that is full already is readable, so a failed write loses nothing.
    #[allow(unsafe_code)]
    pub fn ring(&self) {
        let one = 1_u64;
        // SAFETY: eight readable bytes of a live local, to a descriptor that lives as long as `self`.
        unsafe { libc::write(self.fd.as_raw_fd(), std::ptr::from_ref(&one).cast(), 8) };
    }

    /// Makes it silent again.
    #[allow(unsafe_code)]
    pub fn clear(&self) {
        let mut count = 0_u64;
        // SAFETY: eight writable bytes of a live local, from a descriptor that lives as long as `self`.
        unsafe { libc::read(self.fd.as_raw_fd(), std::ptr::from_mut(&mut count).cast(), 8) };
    }

    /// The descriptor to watch; valid as long as `self` lives.
    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
