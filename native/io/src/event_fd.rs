//! An eventfd: how a native thread wakes the event loop, which watches the descriptor like a socket.
//!
//! A pipe on Unix systems without eventfd; elsewhere it cannot be made, and what needs it says so.

#[cfg(unix)]
pub use std::os::fd::OwnedFd as Owned;

#[cfg(unix)]
pub use unix::EventFd;

/// A descriptor with an owner; there is none on this system.
#[cfg(not(unix))]
pub type Owned = std::convert::Infallible;

#[cfg(not(unix))]
pub use other::EventFd;

#[cfg(unix)]
mod unix {
    use std::io;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

    /// A non-blocking descriptor that becomes readable when somebody rings.
    #[derive(Debug)]
    pub struct EventFd {
        fd: OwnedFd,
        /// The other end of a pipe; an eventfd has one end only.
        write_end: Option<OwnedFd>,
    }

    impl EventFd {
        /// A silent one. Errors: the process has no descriptors left.
        #[cfg(target_os = "linux")]
        #[allow(unsafe_code)]
        pub fn new() -> io::Result<Self> {
            // SAFETY: eventfd takes two integers and returns a new descriptor or -1; a new one belongs to nobody yet.
            let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: `fd` was just returned by eventfd and is owned by nothing else.
            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
            Ok(EventFd { fd, write_end: None })
        }

        /// A silent one. Errors: the process has no descriptors left.
        #[cfg(not(target_os = "linux"))]
        #[allow(unsafe_code)]
        pub fn new() -> io::Result<Self> {
            let mut ends = [0; 2];
            // SAFETY: `ends` has room for the two descriptors that pipe writes.
            if unsafe { libc::pipe(ends.as_mut_ptr()) } != 0 {
                return Err(io::Error::last_os_error());
            }
            for fd in ends {
                // SAFETY: both descriptors were just made by pipe; the flags concern nothing else.
                unsafe {
                    libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
                    libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK);
                }
            }
            let [read, write] = ends;
            // SAFETY: the descriptors were just returned by pipe and are owned by nothing else.
            let (fd, write) = unsafe { (OwnedFd::from_raw_fd(read), OwnedFd::from_raw_fd(write)) };
            Ok(EventFd {
                fd,
                write_end: Some(write),
            })
        }

        /// Makes it readable. A counter that is full already is readable, so a failed write loses nothing.
        #[allow(unsafe_code)]
        pub fn ring(&self) {
            let one = 1_u64;
            let fd = self.write_end.as_ref().unwrap_or(&self.fd).as_raw_fd();
            // SAFETY: eight readable bytes of a live local, to a descriptor that lives as long as `self`.
            unsafe { libc::write(fd, std::ptr::from_ref(&one).cast(), 8) };
        }

        /// One that another process made and handed over; only where a descriptor has both ends.
        pub fn from_fd(fd: OwnedFd) -> Self {
            EventFd { fd, write_end: None }
        }

        /// Waits until it or `other` is readable; (rung, other), both false when the time is up or a signal came.
        #[allow(unsafe_code)]
        pub fn wait(&self, other: Option<RawFd>, timeout_ms: i32) -> (bool, bool) {
            let watch = |fd| libc::pollfd {
                fd,
                events: libc::POLLIN,
                revents: 0,
            };
            // A negative descriptor is passed over.
            let mut both = [watch(self.fd.as_raw_fd()), watch(other.unwrap_or(-1))];
            // SAFETY: `both` is a live array of two pollfds, which the call reads and fills.
            if unsafe { libc::poll(both.as_mut_ptr(), 2, timeout_ms) } <= 0 {
                return (false, false);
            }
            let [rung, other] = both;
            (rung.revents != 0, other.revents != 0)
        }

        /// Makes it silent again.
        #[allow(unsafe_code)]
        pub fn clear(&self) {
            let mut count = [0_u64; 512];
            let bytes = std::mem::size_of_val(&count);
            // SAFETY: `bytes` writable bytes of a live local, from a descriptor that lives as long as `self`.
            unsafe { libc::read(self.fd.as_raw_fd(), count.as_mut_ptr().cast(), bytes) };
        }

        /// The descriptor once more, for another one of the same bell. Errors: no descriptors left.
        pub fn duplicate(&self) -> io::Result<OwnedFd> {
            self.fd.try_clone()
        }

        /// The descriptor to watch; valid as long as `self` lives.
        pub fn raw(&self) -> RawFd {
            self.fd.as_raw_fd()
        }
    }
}

#[cfg(not(unix))]
mod other {
    use std::io;

    /// Cannot be made on this system.
    #[derive(Debug)]
    pub struct EventFd(());

    impl EventFd {
        /// Always refuses.
        pub fn new() -> io::Result<Self> {
            Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "tickd's native threads run on Unix only",
            ))
        }

        /// Does nothing.
        pub fn ring(&self) {}

        /// Does nothing.
        pub fn clear(&self) {}

        /// Cannot be called.
        pub fn from_fd(fd: super::Owned) -> Self {
            match fd {}
        }

        /// Always refuses.
        pub fn duplicate(&self) -> io::Result<super::Owned> {
            Err(io::ErrorKind::Unsupported.into())
        }

        /// Says at once that nothing happened.
        pub fn wait(&self, _other: Option<i32>, _timeout_ms: i32) -> (bool, bool) {
            (false, false)
        }

        /// No descriptor.
        pub fn raw(&self) -> i32 {
            -1
        }
    }
}
