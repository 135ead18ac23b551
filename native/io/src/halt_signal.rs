//! SIGUSR1 as a kill switch: a handler that trips the one word that is bound to the signal.
//!
//! The handler does what `Halt::trip_by_signal` does and nothing else; it takes no lock, allocates nothing, and leaves
//! `errno` as it found it. It runs on whatever thread the kernel picks, whoever holds the GIL.

#![allow(unsafe_code)]

use std::io;
use std::sync::Arc;

use crate::halt::Halt;

#[cfg(unix)]
pub use unix::{bind, block, send_to_self, unbind, unblock, NUMBER};

#[cfg(not(unix))]
pub use other::{bind, block, send_to_self, unbind, unblock, NUMBER};

#[cfg(unix)]
mod unix {
    use super::{io, Arc, Halt};
    use std::mem::MaybeUninit;
    use std::sync::atomic::AtomicPtr;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;
    use std::sync::{Mutex, PoisonError};

    /// The kill signal.
    pub const NUMBER: i32 = libc::SIGUSR1;

    /// The word that the handler trips; owns one count of its `Arc`.
    static BOUND: AtomicPtr<Halt> = AtomicPtr::new(std::ptr::null_mut());
    /// Handlers at work, so that `unbind` knows when nobody looks at the word any more.
    static AT_WORK: AtomicUsize = AtomicUsize::new(0);
    /// Whether a word is bound; held while that changes.
    static IS_BOUND: Mutex<bool> = Mutex::new(false);

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn errno() -> *mut i32 {
        // SAFETY: returns the calling thread's errno, valid as long as the thread.
        unsafe { libc::__errno_location() }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn errno() -> *mut i32 {
        // SAFETY: returns the calling thread's errno, valid as long as the thread.
        unsafe { libc::__error() }
    }

    extern "C" fn on_signal(number: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
        let place = errno();
        // SAFETY: `place` is this thread's errno.
        let errno = unsafe { *place };
        AT_WORK.fetch_add(1, SeqCst);
        let bound = BOUND.load(SeqCst);
        if !bound.is_null() {
            // SAFETY: `unbind` gives the word back only after it took it from BOUND and saw AT_WORK at nought.
            let halt = unsafe { &*bound };
            // SAFETY: with SA_SIGINFO the kernel passes a filled siginfo, and SIGUSR1's has a sender.
            let (uid, pid) = unsafe { ((*info).si_uid(), (*info).si_pid()) };
            halt.trip_by_signal(number, uid, pid);
        }
        AT_WORK.fetch_sub(1, SeqCst);
        // SAFETY: as above.
        unsafe { *place = errno };
    }

    /// What the signal does from now on.
    fn act(handler: libc::sighandler_t) -> io::Result<()> {
        // SAFETY: all-zero bytes are a valid sigaction; sigemptyset fills the mask that it is given.
        let new = unsafe {
            let mut new: libc::sigaction = MaybeUninit::zeroed().assume_init();
            new.sa_sigaction = handler;
            new.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
            libc::sigemptyset(&mut new.sa_mask);
            new
        };
        // SAFETY: `new` is whole; the handler is SIG_IGN or has the signature that SA_SIGINFO asks for.
        match unsafe { libc::sigaction(NUMBER, &new, std::ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Lets the signal trip this word. Errors: another word is bound, or the system refused.
    pub fn bind(halt: &Arc<Halt>) -> io::Result<()> {
        let mut is_bound = IS_BOUND.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_bound {
            let words = "another halt word is bound to the signal";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, words));
        }
        BOUND.store(Arc::into_raw(Arc::clone(halt)).cast_mut(), SeqCst);
        let acted = act(on_signal as *const () as libc::sighandler_t);
        *is_bound = acted.is_ok();
        if acted.is_err() {
            release();
        }
        acted
    }

    /// The signal does nothing any more; false when this word is not the bound one.
    ///
    /// Its default would end the process, by a signal that was sent before and comes after.
    pub fn unbind(halt: &Arc<Halt>) -> bool {
        let mut is_bound = IS_BOUND.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::ptr::eq(BOUND.load(SeqCst), Arc::as_ptr(halt)) {
            return false;
        }
        let _ = act(libc::SIG_IGN); // a known signal and a known action
        release();
        *is_bound = false;
        true
    }

    /// Takes the word from the handler and gives it back.
    fn release() {
        let bound = BOUND.swap(std::ptr::null_mut(), SeqCst);
        while AT_WORK.load(SeqCst) != 0 {
            std::thread::yield_now();
        }
        if !bound.is_null() {
            // SAFETY: it came from Arc::into_raw in `bind`; no handler has it: one that comes now finds BOUND empty.
            drop(unsafe { Arc::from_raw(bound.cast_const()) });
        }
    }

    fn mask(how: i32) {
        // SAFETY: all-zero bytes are a valid set, which sigemptyset and sigaddset fill; the mask is this thread's own.
        unsafe {
            let mut set: libc::sigset_t = MaybeUninit::zeroed().assume_init();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, NUMBER);
            libc::pthread_sigmask(how, &set, std::ptr::null_mut());
        }
    }

    /// The signal waits while this thread is the only one that could take it.
    pub fn block() {
        mask(libc::SIG_BLOCK);
    }

    /// This thread takes the signal, one that waits at once.
    pub fn unblock() {
        mask(libc::SIG_UNBLOCK);
    }

    /// Sends the signal to this process, as `kill` does from outside.
    pub fn send_to_self() {
        // SAFETY: both calls take plain numbers and touch no memory of ours.
        unsafe { libc::kill(libc::getpid(), NUMBER) };
    }
}

#[cfg(not(unix))]
mod other {
    use super::{io, Arc, Halt};

    /// There is no such signal.
    pub const NUMBER: i32 = 0;

    /// Always refuses.
    pub fn bind(_halt: &Arc<Halt>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Nothing is ever bound.
    pub fn unbind(_halt: &Arc<Halt>) -> bool {
        false
    }

    /// Does nothing.
    pub fn block() {}

    /// Does nothing.
    pub fn unblock() {}

    /// Does nothing.
    pub fn send_to_self() {}
}
