//! What every function of the C ABI needs: owned text, checked input, and panics turned into errors.
use std::any::Any;
use std::os::raw::{c_char, c_int};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;

pub type Outcome<T> = Result<T, String>;

/// Mirrors `AssayText`: the parts of a `Vec<u8>`.
#[repr(C)]
pub struct AssayText {
    data: *mut c_char,
    size: usize,
    capacity: usize,
}

impl AssayText {
    pub fn empty() -> Self {
        AssayText { data: std::ptr::null_mut(), size: 0, capacity: 0 }
    }
}

impl From<String> for AssayText {
    fn from(text: String) -> Self {
        let mut bytes = std::mem::ManuallyDrop::new(text.into_bytes());
        if bytes.capacity() == 0 {
            return AssayText::empty();
        }
        AssayText { data: bytes.as_mut_ptr() as *mut c_char, size: bytes.len(), capacity: bytes.capacity() }
    }
}

/// # Safety
/// `text` came from this library and has not been freed.
#[no_mangle]
pub unsafe extern "C" fn assay_text_free(text: AssayText) {
    if !text.data.is_null() {
        drop(Vec::from_raw_parts(text.data as *mut u8, text.size, text.capacity));
    }
}

/// The caller's text, checked: invalid UTF-8 is an error that names the place.
///
/// # Safety
/// `data` points to `size` readable bytes (or `size` is 0).
pub unsafe fn input<'a>(what: &str, data: *const c_char, size: usize) -> Outcome<&'a str> {
    if size == 0 {
        return Ok("");
    }
    let bytes = std::slice::from_raw_parts(data as *const u8, size);
    std::str::from_utf8(bytes).map_err(|e| format!("{what} is not valid UTF-8: a bad byte at offset {}", e.valid_up_to()))
}

fn panic_text(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| s.to_string()).or_else(|| payload.downcast_ref::<String>().cloned());
    format!("internal error: {}", text.unwrap_or_else(|| "panic".into()))
}

/// Runs `work`; a panic becomes an error. The library never prints, so the default message of a panic is silenced while it runs here.
pub fn guarded<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    thread_local!(static INSIDE: std::cell::Cell<u32> = const { std::cell::Cell::new(0) });
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if INSIDE.with(|n| n.get()) == 0 {
                previous(info);
            }
        }));
    });
    INSIDE.with(|n| n.set(n.get() + 1));
    let result = catch_unwind(AssertUnwindSafe(work));
    INSIDE.with(|n| n.set(n.get() - 1));
    result.unwrap_or_else(|payload| Err(panic_text(payload)))
}

/// Writes the outcome where the caller wants it; returns the status.
///
/// # Safety
/// `out` and `error` are writable.
pub unsafe fn deliver<T>(out: *mut T, error: *mut AssayText, outcome: Outcome<T>) -> c_int {
    match outcome {
        Ok(value) => {
            out.write(value);
            0
        }
        Err(message) => {
            error.write(message.into());
            1
        }
    }
}
